"""`synccash doctor`: examines the installation, and says what is wrong and what to do."""

from typing import Any

from synccash.commands.terminal import print_findings, print_json, settings


def doctor(*, json: bool = False) -> int:
    """Examine this installation: settings, servers, schema, roles, rails, clocks, disk, TLS and proxies.

    Says for each problem what to do. Changes nothing, except for an entry in the audit log. Exits with 1 if
    a check has failed. Run it with the settings of the service; it uses the database credentials.
    """
    from synccash.administration.maintenance.doctor.doctor import examine_installation
    from synccash.processes.assembly.checks import check_settings

    results = examine_installation(settings(), check_settings)
    has_failed = any(result.has_failed for result in results)
    found: list[dict[str, Any]] = [
        {"check": result.check, "level": one.level, "message": one.message, "remedy": one.remedy}
        for result in results
        for one in result.findings
    ]
    if json:
        print_json({"ok": not has_failed, "data": found})
    else:
        print_findings([(one["level"], one["check"], one["message"], one["remedy"]) for one in found])
    return int(has_failed)
