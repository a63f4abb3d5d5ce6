from docs.events_page import PAGE, page


def test_the_page_of_events_is_what_the_service_has():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/events_page.py"
