"""Start-up parameters (rows 12 to 14) and what the server says of itself (97)."""

from tests.compare.runner import Script, says

STARTUP = (
    Script(
        "RESET goes back to the client's own start-up value",
        (12,),
        (says("A", "SET DateStyle = 'SQL'"), says("A", "RESET DateStyle"), says("A", "SHOW DateStyle")),
        start={"A": {"DateStyle": "German"}},
    ),
    Script(
        "start-up parameters of all kinds are honoured",
        (13,),
        (
            says("A", "SHOW extra_float_digits", "SHOW work_mem", "SHOW geqo", ready=3),
            says("B", "SHOW extra_float_digits", "SHOW work_mem", "SHOW geqo", ready=3),
        ),
        start={"A": {"extra_float_digits": "3", "work_mem": "1234kB", "geqo": "off"}},
    ),
    Script(
        "options on the command line of the server",
        (14,),
        (says("A", "SHOW statement_timeout", "SHOW search_path", ready=2), says("B", "SHOW statement_timeout")),
        start={"A": {"options": "-c statement_timeout=3s -c search_path=one,two"}},
    ),
    Script(
        "application names that differ by case",
        (4,),
        (says("A", "SHOW application_name"), says("B", "SHOW application_name"), says("C", "SHOW application_name")),
        start={"A": {"application_name": "App"}, "B": {"application_name": "app"}},
    ),
)
