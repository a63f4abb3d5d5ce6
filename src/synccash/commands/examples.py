"""The examples that `--help` shows, by command. A test parses each of them."""

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "up": ("synccash up", "synccash up --port 9000 --data-dir /srv/synccash --no-sandbox"),
    "demo": ("synccash demo", "synccash demo --stay"),
    "serve": ("SYNCCASH_PORT=8000 synccash serve",),
    "migrate": ("SYNCCASH_MIGRATION_DATABASE_URL=postgresql://owner@db/synccash synccash migrate",),
    "sandbox": ("synccash sandbox --port 8100",),
    "drill": (
        "synccash drill --payments 600 --report drill.html",
        "synccash drill --faults rails --seed 7",
    ),
    "doctor": ("synccash doctor", "synccash doctor --json | jq '.data[] | select(.level == \"failed\")'"),
    "backup": ("synccash backup /backups/2026-11-28.backup",),
    "restore": ('synccash restore /backups/2026-11-28.backup --reason "disk lost"',),
    "reconcile": ("synccash reconcile statement.csv --rail mtn_momo --from 2026-11-01 --to 2026-11-30",),
    "listen": (
        "synccash listen --forward-to http://localhost:3000/webhooks",
        "synccash listen --forward-to http://localhost:3000/ --url https://pay.example.com --api-key sk_…",
    ),
    "login": ("synccash login ama",),
    "erase": ('synccash erase --msisdn 0241234567 --reason "request of 3 May"',),
    "routes": (
        "synccash routes --network mtn --amount 2500",
        "synccash routes --assume mtn_momo=open",
    ),
    "balances": ("synccash balances mer_…",),
    "balances credit": ('synccash balances credit mer_… 500000 --live --reason "contract of May"',),
    "config show": ("synccash config show",),
    "config check": ("synccash config check",),
    "merchants add": ('synccash merchants add "Makola Traders"',),
    "merchants suspend": ('synccash merchants suspend mer_… --reason "stolen key"',),
    "keys create": (
        "synccash keys create --merchant mer_… --test",
        "synccash keys create --merchant mer_… --live --scopes payments:read,payouts:write --expires-in 90d",
    ),
    "keys rotate": ("synccash keys rotate key_… --overlap 24h",),
    "payments list": (
        "synccash payments list --detail under_review",
        "synccash payments list --json | jq -r '.data[].id'",
    ),
    "payments payouts": ("synccash payments payouts --reference wages-7",),
    "payments show": ("synccash payments show pay_…",),
    "payments waiting": ("synccash payments waiting",),
    "payments contradictions": ("synccash payments contradictions",),
    "payments close-contradictions": (
        'synccash payments close-contradictions pay_… --reason "the rail paid it again"',
    ),
    "payments resolve": (
        'synccash payments resolve pay_… --outcome succeeded --evidence "statement of 3 May, line 14"',
    ),
    "payments return-surplus": ('synccash payments return-surplus pay_… --reason "paid twice"',),
    "breakers list": ("synccash breakers list",),
    "breakers force-open": ('synccash breakers force-open mtn_momo:collect --reason "maintenance"',),
    "rails list": ("synccash rails list",),
    "recovery start": ('synccash recovery start --reason "restored to 14:05"',),
    "operators create": ('synccash operators create kofi --role operator --reason "night shift"',),
    "approvals approve": ('synccash approvals approve apr_… --reason "saw the statement"',),
    "audit list": ("synccash audit list --actor operator:kofi --since 2026-01-01",),
    "audit export": ("synccash audit export > audit.jsonl",),
    "worker": ("SYNCCASH_WORKER_PORT=9101 synccash worker",),
    "webhooks": ("SYNCCASH_WEBHOOK_PORT=9102 synccash webhooks",),
    "enrol": ("synccash enrol ama",),
    "logout": ("synccash logout",),
    "console": (
        "synccash console",
        "synccash console --url https://pay.example.com",
    ),
    "health": (
        "synccash health",
        "synccash health --json | jq -r '.troubles[].what'",
    ),
    "history": (
        "synccash history --last 7d --step 1h",
        "synccash history --by code",
    ),
    "merchants list": ("synccash merchants list",),
    "merchants resume": ('synccash merchants resume mer_… --reason "new keys made"',),
    "keys list": ("synccash keys list",),
    "keys revoke": ("synccash keys revoke key_…",),
    "payments approve": ('synccash payments approve pay_… --reason "a known buyer"',),
    "payments decline": ('synccash payments decline pay_… --reason "not the account\'s owner"',),
    "balances check": (
        "synccash balances check",
        "synccash balances check mer_…",
    ),
    "balances confirm": (
        'synccash balances confirm mer_… --credit 0 --test --reason "compared with the books"',
    ),
    "breakers": ("synccash breakers",),
    "breakers reset": (
        'synccash breakers reset mtn_momo:collect --reason "maintenance is over"',
        "synccash breakers reset mtn_momo",
    ),
    "rails confirm": ("synccash rails confirm mtn_momo",),
    "rails float": ("synccash rails float",),
    "recovery status": ("synccash recovery status",),
    "recovery release": ('synccash recovery release --reason "statements compared"',),
    "encryption status": ("synccash encryption status",),
    "encryption seal": ("synccash encryption seal",),
    "operators list": ("synccash operators list",),
    "operators reset": ('synccash operators reset ama --reason "lost her phone"',),
    "operators disable": ('synccash operators disable kofi --reason "has left"',),
    "operators enable": ('synccash operators enable kofi --reason "is back"',),
    "operators role": ('synccash operators role kofi viewer --reason "moved to sales"',),
    "operators tokens": ("synccash operators tokens",),
    "operators create-token": ("synccash operators create-token nightly-report --days 30",),
    "operators revoke-token": ("synccash operators revoke-token ot_…",),
    "operators password": ("synccash operators password",),
    "approvals list": (
        "synccash approvals list",
        "synccash approvals list --status executed",
    ),
    "approvals show": ("synccash approvals show apr_…",),
    "approvals decline": ('synccash approvals decline apr_… --reason "the statement says otherwise"',),
    "audit verify": ("synccash audit verify",),
    "retention": ("synccash retention",),
    "completion": (
        "synccash completion bash > ~/.local/share/bash-completion/completions/synccash",
        "synccash completion fish > ~/.config/fish/completions/synccash.fish",
    ),
}


def epilogue(examples: Sequence[str]) -> str:
    """Return the examples as they end a command's help, in Markdown: an item a line, which may wrap."""
    title = "Example" if len(examples) == 1 else "Examples"
    return "\n".join([f"{title}:", "", *(f"- `{example}`" for example in examples)])
