from docs.cli_page import PAGE, page


def test_the_page_of_commands_is_what_the_commands_are():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/cli_page.py"
