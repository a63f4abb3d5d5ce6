"""Statements as portals export them, in the shapes that spreadsheets and people leave them in."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from synccash.payments.reconciliation import Direction, StatementLine
from synccash.rails.registry import RAILS
from synccash.reconciliation import values
from synccash.reconciliation.reading import (
    Movement,
    SkippedRow,
    StatementError,
    StatementFormat,
    UnreadableRow,
    read_statement,
)

IN, OUT = Direction.IN, Direction.OUT
ONE, TWO = "0e3f8a52-6a0c-4a4e-9d1b-0f5a5d6e7f80", "1e3f8a52-6a0c-4a4e-9d1b-0f5a5d6e7f81"
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    def rows(text, rail="mtn_momo", **shape):
        path = tmp_path / "statement.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        given = {"layout": RAILS[rail].statement, "zone": ZoneInfo("Africa/Accra")} | shape
        return list(read_statement(path, StatementFormat(**given)))

    return rows


def lines(rows):
    return [row.line for row in rows if isinstance(row, Movement)]


MTN = f"""\
Id,External id,Date,Status,Type,From,To,Amount,Currency,Fee
71,{ONE},2026-11-24 12:00:00,Successful,Debit,233241234567,Shop,25.05,GHS,0
72,{TWO},2026-11-24 12:01:00,Successful,Transfer,Shop,233241234567,-7.00,GHS,0.05
73,,2026-11-24 12:02:00,Failed,Debit,233241234567,Shop,9,GHS,0
"""


def test_mtn_s_statement_tells_money_in_from_money_out_and_leaves_out_what_failed(read):
    first, second, third = read(MTN)
    assert first == Movement(StatementLine(2, IN, 2505, ONE, "71"), NOON)
    assert second.line == StatementLine(3, OUT, 700, TWO, "72")
    assert third == SkippedRow(4, "unsettled")


def test_paystack_s_transactions_are_money_in_and_its_transfers_money_out(read):
    (charge,) = lines(read(f"Reference,Amount,Status,Transaction Date\n{ONE},25.05,success,x\n", "paystack"))
    assert charge == StatementLine(2, IN, 2505, ONE, None)
    text = f"Transfer Code,Reference,Amount,Recipient,Status\nTRF_1,{ONE},25.05,Ama,success\n"
    (transfer,) = lines(read(text, "paystack"))
    assert transfer == StatementLine(2, OUT, 2505, ONE, "TRF_1")


def test_paystack_s_refund_is_named_by_its_note_and_not_by_the_charge(read):
    text = f"Refund ID,Transaction Reference,Merchant Note,Amount,Status\n9,{ONE},{TWO},5,processed\n"
    assert lines(read(text, "paystack")) == [StatementLine(2, OUT, 500, TWO, "9")]


def test_hubtel_writes_our_reference_without_hyphens(read):
    row = f"24/11/2026 12:00;{ONE.replace('-', '')};h1;25;Paid\n"
    text = f"Date;Client Reference;Transaction Id;Amount;Status\n{row}"
    (row,) = read(text, "hubtel")
    assert row == Movement(StatementLine(2, IN, 2500, ONE, "h1"), NOON)


def test_pawapay_s_fees_are_no_payments(read):
    text = (
        "Creation Date,MSISDN,Transaction ID,Amount,Currency,Country,MNO,Type\n"
        f"2026-11-24T12:00:00Z,233593456789,{ONE},25.00,GHS,GHA,MTN_MOMO_GHA,DEPOSIT\n"
        f"2026-11-24T12:00:00Z,233593456789,{ONE},0.25,GHS,GHA,MTN_MOMO_GHA,FEE\n"
        f"2026-11-24T12:00:00Z,233593456789,{TWO},5.00,GHS,GHA,MTN_MOMO_GHA,PAYOUT\n"
    )
    rows = read(text, "pawapay")
    assert lines(rows) == [StatementLine(2, IN, 2500, ONE, None), StatementLine(4, OUT, 500, TWO, None)]
    assert rows[1] == SkippedRow(3, "no_payment")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + MTN.encode(),
        MTN.replace(",", ";").encode(),
        MTN.replace(",", "\t").encode(),
        MTN.replace("\n", "\r\n").encode(),
        MTN.encode("utf-16"),
        MTN.replace("Shop", "Café").encode("cp1252"),
    ],
)
def test_marks_delimiters_line_ends_and_encodings_make_no_difference(read, text):
    assert read(text) == read(MTN)


def test_titles_before_the_header_blank_lines_and_a_second_header_are_passed_over(read):
    header, *rest = MTN.splitlines()
    text = "\n".join(["Statement of Shop", "", header, rest[0], "", ",,,,,,,,,", header, rest[1]])
    assert [line.number for line in lines(read(text))] == [4, 8]


def test_what_cannot_be_read_is_told_with_its_line_and_the_rest_is_read(read):
    rows = read(
        f"Id,External id,Date,Status,Type,Amount,Currency\n"
        f"1,{ONE},2026-11-24,Successful,Debit,much,GHS\n"
        f"2,{ONE},2026-11-24,Dubious,Debit,1,GHS\n"
        f"3,{ONE},2026-11-24,Successful,Gift,1,GHS\n"
        f"4,{ONE},2026-11-24,Successful,Debit,1,USD\n"
        f"5,{ONE},2026-11-24,Successful,Debit,1,GHS,surplus\n"
        f"6,{ONE},2026-11-24,Successful,Debit\n"
        f"7,{ONE},2026-11-24,Successful,Debit,0.001,GHS\n"
        f"8,{ONE},2026-11-24,Successful,Debit,1,GHS\n"
    )
    assert [row.number for row in rows if isinstance(row, UnreadableRow)] == [2, 3, 4, 5, 6, 7, 8]
    assert [
        word in row.why
        for word, row in zip(
            ("amount", "Dubious", "Gift", "USD", "8 cells", "no amount", "finer"), rows, strict=False
        )
    ] == [True] * 7
    assert lines(rows) == [StatementLine(9, IN, 100, ONE, "8")]


def test_an_open_quote_costs_the_rows_that_it_hides_and_says_which(read):
    behind = f"75,{TWO},2026-11-24 12:03:00,Successful,Debit,a,b,3,GHS,0\n" * 2000
    rows = read(MTN + '74,"' + behind)
    (broken,) = [row for row in rows if isinstance(row, UnreadableRow)]
    assert (broken.number, "quote" in broken.why) == (5, True)
    hidden_to = int(broken.why.split("up to line ")[1].split(":")[0])
    assert [line.number for line in lines(rows)] == [2, 3, *range(hidden_to + 1, 2005)]


def test_a_cell_over_several_lines_moves_the_numbers_of_those_behind_it(read):
    header, first, *_ = MTN.splitlines()
    text = "\n".join([header, first.replace("Shop", '"Shop\non\nthe hill"'), first])
    assert [line.number for line in lines(read(text))] == [2, 5]


def test_a_file_of_another_shape_is_read_by_the_names_that_are_given(read):
    text = f"When,Ref No,Value\n24.11.2026 12:00,{ONE},5\n"
    with pytest.raises(StatementError, match="--columns"):
        read(text)
    (row,) = read(text, named={"reference": "Ref No", "amount": "Value", "time": "When"}, direction=OUT)
    assert row == Movement(StatementLine(2, OUT, 500, ONE, None), NOON)


def test_credit_and_debit_in_columns_of_their_own_say_the_direction(read):
    text = f"Reference,Credit,Debit\n{ONE},25.00,\n{TWO},,5.00\n"
    assert [(line.direction, line.amount) for line in lines(read(text))] == [(IN, 2500), (OUT, 500)]


def test_without_an_offset_a_time_is_in_the_zone_that_is_said(read):
    text = f"Reference,Amount,Date\n{ONE},1,2026-11-24 13:00\n{TWO},1,2026-11-24T13:00:00+01:00\n"
    assert [row.at for row in read(text, zone=ZoneInfo("Africa/Lagos"))] == [NOON, NOON]


def test_a_time_that_cannot_be_read_does_not_cost_its_row(read):
    (row,) = read(f"Reference,Amount,Date\n{ONE},1,yesterday\n")
    assert (row.line.amount, row.at) == (100, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25", 2500), ("25.5", 2550), ("1,234.50", 123450), ("1.234,50", 123450), ("25,50", 2550),
        ("1,234", 123400), ("GHS 25.00", 2500), ("25.00 GHS", 2500), ("₵1,000,000.00", 100_000_000),
        ("-25.00", -2500), ("(25.00)", -2500), ("25.0000", 2500), ("0.07", 7), (" 12 345.60 ", 1234560),
        ("\u221212.00", -1200),
    ],
)  # fmt: skip
def test_amounts_are_read_exactly(text, expected):
    assert values.amount(text) == expected


@pytest.mark.parametrize("text", ["", "-", "1.005", "1e3", "NaN", "12.5.0", "٣", "1,23,456.0x"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"amount|pesewa"):
        values.amount(text)


def test_in_minor_units_an_amount_is_whole():
    assert values.amount("2505", minor_units=True) == 2505
    with pytest.raises(ValueError, match="pesewa"):
        values.amount("25.05", minor_units=True)


@pytest.mark.parametrize("text", [ONE.upper(), ONE.replace("-", ""), f'="{ONE}"', f"'{ONE}", f" {ONE} "])
def test_a_reference_is_known_however_it_is_written(text):
    assert values.reference(text) == ONE
