from docs.states_page import PAGE, page


def test_the_page_of_states_is_generated_from_the_transition_tables():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/states_page.py"
