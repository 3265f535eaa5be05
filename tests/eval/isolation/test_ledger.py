from eval.isolation.canaries import Canary
from eval.isolation.ledger import DoorTally, Ledger


def test_a_report_counts_by_door_in_the_order_they_were_opened():
    ledger = Ledger()
    ledger.open("exports", "no route exports")
    ledger.tried("search", "search", "beta owner", "POST /v1/search", "200")
    ledger.tried("search", "search", "beta red", "POST /v1/search", "200")
    leaked = Canary(word="zq", what="text of alpha/red", kind="passage", tenant="alpha")
    for _ in range(2):
        ledger.found("search", "search", "beta red", "shows it", [leaked])
    report = ledger.report("http://here", 1.26)
    assert report.doors == [DoorTally("exports", 0, 0, "no route exports"), DoorTally("search", 2, 1, "")]
    assert (report.attempts, report.leaks, report.took_s) == (2, 1, 1.3)
    assert report.findings[0].leaked == ["text of alpha/red"]
    assert [attempt.caller for attempt in report.tried] == ["beta owner", "beta red"]
