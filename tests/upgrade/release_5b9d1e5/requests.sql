SELECT pg_catalog.set_config('search_path', '', false);
CREATE FUNCTION public.refuse_to_leave_an_end() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% % has ended: % cannot become another state', TG_TABLE_NAME, OLD.id, TG_ARGV[0]
        USING ERRCODE = 'check_violation', CONSTRAINT = 'an_end_absorbs';
END
$$;
CREATE TABLE public.api_keys (
    id text NOT NULL,
    secret_hash bytea NOT NULL,
    role text NOT NULL,
    merchant_id text,
    livemode boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT an_operator_belongs_to_no_merchant CHECK (((role = 'admin'::text) = (merchant_id IS NULL))),
    CONSTRAINT api_keys_role_check CHECK ((role = ANY (ARRAY['merchant'::text, 'admin'::text]))),
    CONSTRAINT api_keys_secret_hash_check CHECK ((octet_length(secret_hash) = 32))
);
CREATE TABLE public.attempts (
    id text NOT NULL,
    order_id text NOT NULL,
    sequence integer NOT NULL,
    operation text NOT NULL,
    payment_id text GENERATED ALWAYS AS (
CASE operation
    WHEN 'collect'::text THEN order_id
    ELSE NULL::text
END) STORED,
    refund_id text GENERATED ALWAYS AS (
CASE operation
    WHEN 'refund'::text THEN order_id
    ELSE NULL::text
END) STORED,
    rail text NOT NULL,
    account text NOT NULL,
    base_url text NOT NULL,
    target_environment text NOT NULL,
    reference uuid NOT NULL,
    callback_token text NOT NULL,
    amount bigint NOT NULL,
    opened_fence bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    state text NOT NULL,
    evidence text,
    sends integer NOT NULL,
    inquiries integer NOT NULL,
    quiet_since timestamp with time zone,
    latency_ms bigint,
    provider_code text,
    provider_transaction_id text,
    failure json,
    retry_decision text,
    amount_received bigint NOT NULL,
    refund_reserved bigint NOT NULL,
    payout_id text GENERATED ALWAYS AS (
CASE operation
    WHEN 'payout'::text THEN order_id
    ELSE NULL::text
END) STORED,
    reported_failure json,
    CONSTRAINT attempts_amount_check CHECK (((amount >= 1) AND (amount <= '1000000000000'::bigint))),
    CONSTRAINT attempts_amount_received_check CHECK ((amount_received >= 0)),
    CONSTRAINT attempts_evidence_check CHECK ((evidence = ANY (ARRAY['not_sent'::text, 'refused_later'::text, 'refused_final'::text, 'ambiguous'::text, 'accepted'::text]))),
    CONSTRAINT attempts_inquiries_check CHECK ((inquiries >= 0)),
    CONSTRAINT attempts_operation_check CHECK ((operation = ANY (ARRAY['collect'::text, 'refund'::text, 'payout'::text]))),
    CONSTRAINT attempts_refund_reserved_check CHECK ((refund_reserved >= 0)),
    CONSTRAINT attempts_sends_check CHECK ((sends >= 1)),
    CONSTRAINT attempts_sequence_check CHECK ((sequence >= 1)),
    CONSTRAINT attempts_state_check CHECK ((state = ANY (ARRAY['prepared'::text, 'acknowledged'::text, 'unknown'::text, 'succeeded'::text, 'declined'::text, 'not_sent'::text]))),
    CONSTRAINT reserved_at_most_what_came CHECK ((refund_reserved <= amount_received))
);
CREATE TABLE public.audit (
    "position" bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    reason text NOT NULL
);
ALTER TABLE public.audit ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.contradictions (
    move_id text NOT NULL,
    order_id text NOT NULL,
    kind text NOT NULL,
    attempts json NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.deliveries (
    event_id text NOT NULL,
    endpoint_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone,
    fence bigint DEFAULT 0 NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    delivered_at timestamp with time zone,
    last_status integer,
    last_error text
);
CREATE TABLE public.events (
    id text NOT NULL,
    "position" bigint NOT NULL,
    xact xid8 DEFAULT pg_current_xact_id() NOT NULL,
    merchant_id text NOT NULL,
    livemode boolean NOT NULL,
    type text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    object_id text NOT NULL,
    object_version bigint NOT NULL,
    data json NOT NULL
);
ALTER TABLE public.events ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.idempotency (
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    order_id text NOT NULL,
    status integer,
    body bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,
    CONSTRAINT an_answer_is_whole CHECK (((status IS NULL) = (body IS NULL))),
    CONSTRAINT idempotency_status_check CHECK (((status >= 200) AND (status <= 599)))
)
WITH (fillfactor='25');
CREATE TABLE public.installation_keys (
    purpose text NOT NULL,
    secret bytea NOT NULL,
    CONSTRAINT installation_keys_secret_check CHECK ((octet_length(secret) = 32))
);
CREATE TABLE public.merchants (
    id text NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.payer_networks (
    payer bytea NOT NULL,
    network text NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT payer_networks_network_check CHECK ((network = ANY (ARRAY['mtn'::text, 'telecel'::text, 'at'::text]))),
    CONSTRAINT payer_networks_payer_check CHECK ((octet_length(payer) = 16))
);
CREATE TABLE public.payments (
    id text NOT NULL,
    merchant_id text NOT NULL,
    livemode boolean NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    payer_msisdn text NOT NULL,
    payer_network text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    status_detail text,
    pinned_rail text,
    rail text,
    provider_transaction_id text,
    next_action json,
    last_error json,
    amount_received bigint NOT NULL,
    amount_refunded bigint NOT NULL,
    attempt_count integer NOT NULL,
    description text,
    metadata json NOT NULL,
    routing json NOT NULL,
    version bigint NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamp with time zone,
    due_at timestamp with time zone,
    hinted boolean DEFAULT false NOT NULL,
    move_id text NOT NULL,
    CONSTRAINT payments_amount_check CHECK (((amount >= 1) AND (amount <= '1000000000000'::bigint))),
    CONSTRAINT payments_amount_received_check CHECK ((amount_received >= 0)),
    CONSTRAINT payments_amount_refunded_check CHECK ((amount_refunded >= 0)),
    CONSTRAINT payments_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT payments_fence_check CHECK ((fence >= 1)),
    CONSTRAINT payments_status_check CHECK ((status = ANY (ARRAY['created'::text, 'requires_action'::text, 'processing'::text, 'succeeded'::text, 'failed'::text, 'canceled'::text]))),
    CONSTRAINT payments_version_check CHECK ((version >= 1)),
    CONSTRAINT refunded_at_most_what_came CHECK ((amount_refunded <= amount_received)),
    CONSTRAINT who_has_not_ended_is_looked_at CHECK (((due_at IS NOT NULL) OR (status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'canceled'::text]))))
);
CREATE TABLE public.payouts (
    id text NOT NULL,
    merchant_id text NOT NULL,
    livemode boolean NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    payee_msisdn text NOT NULL,
    payee_network text,
    payee_name text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    status_detail text,
    pinned_rail text,
    rail text,
    provider_transaction_id text,
    last_error json,
    attempt_count integer NOT NULL,
    description text,
    metadata json NOT NULL,
    routing json NOT NULL,
    version bigint NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamp with time zone,
    due_at timestamp with time zone,
    hinted boolean DEFAULT false NOT NULL,
    move_id text NOT NULL,
    CONSTRAINT payouts_amount_check CHECK (((amount >= 1) AND (amount <= '1000000000000'::bigint))),
    CONSTRAINT payouts_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT payouts_fence_check CHECK ((fence >= 1)),
    CONSTRAINT payouts_status_check CHECK ((status = ANY (ARRAY['processing'::text, 'succeeded'::text, 'failed'::text]))),
    CONSTRAINT payouts_version_check CHECK ((version >= 1)),
    CONSTRAINT who_has_not_ended_is_looked_at CHECK (((due_at IS NOT NULL) OR (status = ANY (ARRAY['succeeded'::text, 'failed'::text]))))
);
CREATE TABLE public.rail_standings (
    rail text NOT NULL,
    operation text NOT NULL,
    standing text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT rail_standings_standing_check CHECK ((standing = ANY (ARRAY['healthy'::text, 'degraded'::text]))),
    CONSTRAINT rail_standings_version_check CHECK ((version >= 1))
);
CREATE TABLE public.refunds (
    id text NOT NULL,
    merchant_id text NOT NULL,
    livemode boolean NOT NULL,
    payment_id text NOT NULL,
    attempt_id text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    status_detail text,
    rail text,
    reason text,
    last_error json,
    version bigint NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamp with time zone,
    due_at timestamp with time zone,
    hinted boolean DEFAULT false NOT NULL,
    move_id text NOT NULL,
    surplus boolean DEFAULT false NOT NULL,
    exclusive boolean DEFAULT false NOT NULL,
    CONSTRAINT refunds_amount_check CHECK (((amount >= 1) AND (amount <= '1000000000000'::bigint))),
    CONSTRAINT refunds_fence_check CHECK ((fence >= 1)),
    CONSTRAINT refunds_status_check CHECK ((status = ANY (ARRAY['processing'::text, 'succeeded'::text, 'failed'::text]))),
    CONSTRAINT refunds_version_check CHECK ((version >= 1)),
    CONSTRAINT who_has_not_ended_is_looked_at CHECK (((due_at IS NOT NULL) OR (status = ANY (ARRAY['succeeded'::text, 'failed'::text]))))
);
CREATE TABLE public.request_claims (
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    state text NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    status integer,
    headers json,
    body bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT an_answer_completes CHECK (((state = 'completed'::text) = (status IS NOT NULL))),
    CONSTRAINT request_claims_fence_check CHECK ((fence >= 1)),
    CONSTRAINT request_claims_state_check CHECK ((state = ANY (ARRAY['processing'::text, 'completed'::text, 'failed'::text]))),
    CONSTRAINT request_claims_status_check CHECK (((status >= 200) AND (status <= 599)))
)
WITH (fillfactor='25');
CREATE TABLE public.schema_migrations (
    version character varying NOT NULL
);
CREATE TABLE public.timeline (
    order_id text NOT NULL,
    "position" bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    data json NOT NULL
);
ALTER TABLE public.timeline ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.timeline_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.webhook_endpoints (
    id text NOT NULL,
    merchant_id text NOT NULL,
    livemode boolean NOT NULL,
    url text NOT NULL,
    types json,
    secrets json NOT NULL,
    status text NOT NULL,
    disabled_reason text,
    failing_since timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT webhook_endpoints_status_check CHECK ((status = ANY (ARRAY['enabled'::text, 'disabled'::text, 'removed'::text])))
);
INSERT INTO public.attempts VALUES
	('att_01m8dembnbaxq5xbmbmt559z3g', 'pay_01m8dembnbbj07gnc09rkary82', 1, 'collect', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', 'e7359d9d-dd33-4f02-a4b3-371b23179fe9', 'j2djjmN5zkKHBSkrWJOiq74Vv25cHs_PD9C4dGPyKoE', 2000, 1, '2026-11-27 02:51:24.718957+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:24.744546+00', 8, NULL, '9281767401', NULL, NULL, 2000, 300, DEFAULT, NULL),
	('att_01m8dembrafdw35wbw3vhh7e2x', 're_01m8dembr962ek7k43d1jshhf0', 1, 'refund', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', '1c9f3350-ae8e-40df-93d1-a9fff4bfef09', 'JuCjQZdlVLKygF--SV7YuuFAg0IVSUCOAF0b1-alzIY', 300, 1, '2026-11-27 02:51:24.810049+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:24.82075+00', 5, NULL, '6467032329', NULL, NULL, 300, 0, DEFAULT, NULL),
	('att_01m8dembwhn2x7s087c1pw101s', 'po_01m8dembwhdad11kkpap98emfq', 1, 'payout', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', '817cb2a6-6964-49df-994b-68f443b8d204', 'Hl45HKGVujOoFGjLavrmbq8eK6bhFihPnAIj6u5MAcg', 1000, 1, '2026-11-27 02:51:24.945338+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:24.95549+00', 4, NULL, '8289415684', NULL, NULL, 1000, 0, DEFAULT, NULL),
	('att_01m8demc013fcb9cvan0afvayt', 'pay_01m8demc01312mw66t7zzte2a4', 1, 'collect', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', '44cdf770-e3a0-4231-a841-486b5cf69b52', 'UF4D_N2VKqmnv1EH-a5SLsguBdR7PpjRO6b7aLEqqaQ', 2000, 1, '2026-11-27 02:51:25.057821+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:25.071486+00', 1, NULL, '5190507346', NULL, NULL, 2000, 300, DEFAULT, NULL),
	('att_01m8demc26ke4qkfcjsh1kvak6', 're_01m8demc26kytj2wkyn3zkj24m', 1, 'refund', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', 'a31b2fef-7332-434a-b41c-9e431d460b69', 'SEXqKftRyFT-Av-U9FaKVs3f2lovJPnS36RfoXzKbkY', 300, 1, '2026-11-27 02:51:25.126619+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:25.141289+00', 1, NULL, '5487002985', NULL, NULL, 300, 0, DEFAULT, NULL),
	('att_01m8demc5k50q0n9n954h2sps1', 'po_01m8demc5k5en10fgqvs5w5q2z', 1, 'payout', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', '970edb86-ffde-411a-b0bb-74fbb06dde18', 'FpeZAtPu8u763WG71erRLo2G3tFFt_dXeKf4NeOe0pQ', 1000, 1, '2026-11-27 02:51:25.23554+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:25.247283+00', 1, NULL, '8519080472', NULL, NULL, 1000, 0, DEFAULT, NULL),
	('att_01m8demc9fxxmfxk5v2zhmhrz4', 'pay_01m8demc9fnnchb3cxz71md0x3', 1, 'collect', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', 'ee9f3deb-6355-4b8d-b9e4-8bc13e3c8ed5', 'eRVVp5ZGKh9JYUoiYAGVa4v_ZDbtBGmkXr_BYgEcG0k', 2000, 1, '2026-11-27 02:51:25.360026+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:25.376998+00', 1, NULL, '2061737685', NULL, NULL, 2000, 300, DEFAULT, NULL),
	('att_01m8demcdcet3vmjkc38364sgr', 're_01m8demcdcmaw6permknkk5rn4', 1, 'refund', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', 'f23118bc-1396-47e7-b802-a640acbe1bb3', '14zCDq0VVrcwYsPquTZw63JNk9FZR7-eS5VWBIQoev4', 300, 1, '2026-11-27 02:51:25.484513+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:25.491106+00', 4, NULL, '3600481203', NULL, NULL, 300, 0, DEFAULT, NULL),
	('att_01m8demcetrk1pszx9jq7jtaf4', 'po_01m8demcetymww2dxw45j93s7c', 1, 'payout', DEFAULT, DEFAULT, 'mtn_momo', 'main', 'http://127.0.0.1:39333', 'mtnghana', '0a9eedbf-82a9-4ce1-9234-4790d7978302', 'txmQ2qLwVrrKSuuOFdvj7whV4nwi7mHJ9mXy3u6SIz4', 1000, 1, '2026-11-27 02:51:25.530762+00', 'succeeded', 'accepted', 1, 1, '2026-11-27 02:51:25.537497+00', 1, NULL, '4446082818', NULL, NULL, 1000, 0, DEFAULT, NULL);
INSERT INTO public.idempotency VALUES
	('mer_one:test:POST:/api/v1/payments', 'pay-plain', '\x0184a1602e9adf2e3fa4c4e71681a3be1075b4267dc9fdfece60d4a3a2343c0b33', 'pay_01m8dembnbbj07gnc09rkary82', 201, convert_to('{"id":"pay_01m8dembnbbj07gnc09rkary82","object":"payment","merchant_id":"mer_one","reference":"order-plain","amount":2000,"currency":"GHS","status":"processing","status_detail":"awaiting_payer","amount_received":0,"amount_refunded":0,"payer":{"msisdn":"233241234567","network":"mtn"},"rail":"mtn_momo","provider_transaction_id":null,"routing":{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"},"next_action":{"type":"approve_on_phone","display_text":"Approve the payment with your MoMo PIN on your phone. No prompt? Dial *170# and open My Approvals."},"last_error":null,"attempt_count":1,"attempts":[{"id":"att_01m8dembnbaxq5xbmbmt559z3g","object":"attempt","rail":"mtn_momo","operation":"collect","reference":"e7359d9d-dd33-4f02-a4b3-371b23179fe9","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:24.718Z","latency_ms":8,"provider_code":null,"error":null,"retry_decision":null}],"description":null,"expires_at":"2026-11-27T03:06:24.715Z","created_at":"2026-11-27T02:51:24.715Z","updated_at":"2026-11-27T02:51:24.744Z","version":2,"metadata":{},"livemode":false}', 'UTF8'), '2026-11-27 02:51:24.719475+00', '2026-11-27 02:51:24.745331+00'),
	('mer_one:test:POST:/api/v1/payments/{payment_id}/refunds', 'refund-plain', '\x01ae2fb4fd9cbdd37b92b40b0dadc351017947484b68ec19abbd0fc55318689895', 're_01m8dembr962ek7k43d1jshhf0', 201, convert_to('{"id":"re_01m8dembr962ek7k43d1jshhf0","object":"refund","merchant_id":"mer_one","payment_id":"pay_01m8dembnbbj07gnc09rkary82","amount":300,"currency":"GHS","status":"processing","status_detail":null,"reason":null,"rail":"mtn_momo","attempts":[{"id":"att_01m8dembrafdw35wbw3vhh7e2x","object":"attempt","rail":"mtn_momo","operation":"refund","reference":"1c9f3350-ae8e-40df-93d1-a9fff4bfef09","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:24.810Z","latency_ms":5,"provider_code":null,"error":null,"retry_decision":null}],"last_error":null,"created_at":"2026-11-27T02:51:24.809Z","updated_at":"2026-11-27T02:51:24.809Z","version":1,"livemode":false}', 'UTF8'), '2026-11-27 02:51:24.810295+00', '2026-11-27 02:51:24.821104+00'),
	('mer_one:test:POST:/api/v1/payouts', 'payout-plain', '\x012f1440e7b2665f9dd3844d1c8ff1b0cc58abd4fa4bfa21500a6c90c4cdbb5423', 'po_01m8dembwhdad11kkpap98emfq', 201, convert_to('{"id":"po_01m8dembwhdad11kkpap98emfq","object":"payout","merchant_id":"mer_one","reference":"wage-plain","amount":1000,"currency":"GHS","status":"processing","status_detail":null,"payee":{"msisdn":"233241234567","network":"mtn","name":null},"rail":"mtn_momo","provider_transaction_id":null,"routing":{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"},"last_error":null,"attempts":[{"id":"att_01m8dembwhn2x7s087c1pw101s","object":"attempt","rail":"mtn_momo","operation":"payout","reference":"817cb2a6-6964-49df-994b-68f443b8d204","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:24.945Z","latency_ms":4,"provider_code":null,"error":null,"retry_decision":null}],"description":null,"expires_at":"2026-11-28T02:51:24.945Z","created_at":"2026-11-27T02:51:24.945Z","updated_at":"2026-11-27T02:51:24.945Z","version":1,"metadata":{},"livemode":false}', 'UTF8'), '2026-11-27 02:51:24.945719+00', '2026-11-27 02:51:24.959011+00'),
	('mer_one:test:POST:/api/v1/payments', 'pay-slash', '\x017a4224c3913562f0aa81542b1641e897ebe98f028b3f13016a389ad3ca01374f', 'pay_01m8demc01312mw66t7zzte2a4', 201, convert_to('{"id":"pay_01m8demc01312mw66t7zzte2a4","object":"payment","merchant_id":"mer_one","reference":"order-slash","amount":2000,"currency":"GHS","status":"processing","status_detail":"awaiting_payer","amount_received":0,"amount_refunded":0,"payer":{"msisdn":"233241234567","network":"mtn"},"rail":"mtn_momo","provider_transaction_id":null,"routing":{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"},"next_action":{"type":"approve_on_phone","display_text":"Approve the payment with your MoMo PIN on your phone. No prompt? Dial *170# and open My Approvals."},"last_error":null,"attempt_count":1,"attempts":[{"id":"att_01m8demc013fcb9cvan0afvayt","object":"attempt","rail":"mtn_momo","operation":"collect","reference":"44cdf770-e3a0-4231-a841-486b5cf69b52","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:25.057Z","latency_ms":1,"provider_code":null,"error":null,"retry_decision":null}],"description":null,"expires_at":"2026-11-27T03:06:25.057Z","created_at":"2026-11-27T02:51:25.057Z","updated_at":"2026-11-27T02:51:25.071Z","version":2,"metadata":{},"livemode":false}', 'UTF8'), '2026-11-27 02:51:25.05862+00', '2026-11-27 02:51:25.075547+00'),
	('mer_one:test:POST:/api/v1/payments/{payment_id}/refunds', 'refund-slash', '\x01ef564d857985aaa43cface3b2d2bd784ce8dbb8ac1bb743b13d2ceb89d5bde50', 're_01m8demc26kytj2wkyn3zkj24m', 201, convert_to('{"id":"re_01m8demc26kytj2wkyn3zkj24m","object":"refund","merchant_id":"mer_one","payment_id":"pay_01m8demc01312mw66t7zzte2a4","amount":300,"currency":"GHS","status":"processing","status_detail":null,"reason":null,"rail":"mtn_momo","attempts":[{"id":"att_01m8demc26ke4qkfcjsh1kvak6","object":"attempt","rail":"mtn_momo","operation":"refund","reference":"a31b2fef-7332-434a-b41c-9e431d460b69","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:25.126Z","latency_ms":1,"provider_code":null,"error":null,"retry_decision":null}],"last_error":null,"created_at":"2026-11-27T02:51:25.126Z","updated_at":"2026-11-27T02:51:25.126Z","version":1,"livemode":false}', 'UTF8'), '2026-11-27 02:51:25.128579+00', '2026-11-27 02:51:25.142342+00'),
	('mer_one:test:POST:/api/v1/payments', 'pay-doubled', '\x01f376870622a21c33c430c5712d7a8817be94870f44e5d78ab7f45a25e715a15d', 'pay_01m8demc9fnnchb3cxz71md0x3', 201, convert_to('{"id":"pay_01m8demc9fnnchb3cxz71md0x3","object":"payment","merchant_id":"mer_one","reference":"order-doubled","amount":2000,"currency":"GHS","status":"processing","status_detail":"awaiting_payer","amount_received":0,"amount_refunded":0,"payer":{"msisdn":"233241234567","network":"mtn"},"rail":"mtn_momo","provider_transaction_id":null,"routing":{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"},"next_action":{"type":"approve_on_phone","display_text":"Approve the payment with your MoMo PIN on your phone. No prompt? Dial *170# and open My Approvals."},"last_error":null,"attempt_count":1,"attempts":[{"id":"att_01m8demc9fxxmfxk5v2zhmhrz4","object":"attempt","rail":"mtn_momo","operation":"collect","reference":"ee9f3deb-6355-4b8d-b9e4-8bc13e3c8ed5","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:25.360Z","latency_ms":1,"provider_code":null,"error":null,"retry_decision":null}],"description":null,"expires_at":"2026-11-27T03:06:25.359Z","created_at":"2026-11-27T02:51:25.359Z","updated_at":"2026-11-27T02:51:25.377Z","version":2,"metadata":{},"livemode":false}', 'UTF8'), '2026-11-27 02:51:25.363556+00', '2026-11-27 02:51:25.379231+00'),
	('mer_one:test:POST:/api/v1/payouts', 'payout-slash', '\x01c06263ac9277faa45225366cef9ec80aa79d1a4ce913d343d1d8a95f30df80f2', 'po_01m8demc5k5en10fgqvs5w5q2z', 201, convert_to('{"id":"po_01m8demc5k5en10fgqvs5w5q2z","object":"payout","merchant_id":"mer_one","reference":"wage-slash","amount":1000,"currency":"GHS","status":"processing","status_detail":null,"payee":{"msisdn":"233241234567","network":"mtn","name":null},"rail":"mtn_momo","provider_transaction_id":null,"routing":{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"},"last_error":null,"attempts":[{"id":"att_01m8demc5k50q0n9n954h2sps1","object":"attempt","rail":"mtn_momo","operation":"payout","reference":"970edb86-ffde-411a-b0bb-74fbb06dde18","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:25.235Z","latency_ms":1,"provider_code":null,"error":null,"retry_decision":null}],"description":null,"expires_at":"2026-11-28T02:51:25.235Z","created_at":"2026-11-27T02:51:25.235Z","updated_at":"2026-11-27T02:51:25.235Z","version":1,"metadata":{},"livemode":false}', 'UTF8'), '2026-11-27 02:51:25.236609+00', '2026-11-27 02:51:25.254026+00'),
	('mer_one:test:POST:/api/v1/payments/{payment_id}/refunds', 'refund-doubled', '\x013090d5a08271c06a76ebb0b25361dd2a13760fb79a4efcfbfcdc1b17ed21ae6b', 're_01m8demcdcmaw6permknkk5rn4', 201, convert_to('{"id":"re_01m8demcdcmaw6permknkk5rn4","object":"refund","merchant_id":"mer_one","payment_id":"pay_01m8demc9fnnchb3cxz71md0x3","amount":300,"currency":"GHS","status":"processing","status_detail":null,"reason":null,"rail":"mtn_momo","attempts":[{"id":"att_01m8demcdcet3vmjkc38364sgr","object":"attempt","rail":"mtn_momo","operation":"refund","reference":"f23118bc-1396-47e7-b802-a640acbe1bb3","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:25.484Z","latency_ms":4,"provider_code":null,"error":null,"retry_decision":null}],"last_error":null,"created_at":"2026-11-27T02:51:25.484Z","updated_at":"2026-11-27T02:51:25.484Z","version":1,"livemode":false}', 'UTF8'), '2026-11-27 02:51:25.484751+00', '2026-11-27 02:51:25.495677+00'),
	('mer_one:test:POST:/api/v1/payouts', 'payout-doubled', '\x01a3c295f77f8e9d8c9f34f788b3f7b424ae23fb5f1198dc9b5576708535b4ddd7', 'po_01m8demcetymww2dxw45j93s7c', 201, convert_to('{"id":"po_01m8demcetymww2dxw45j93s7c","object":"payout","merchant_id":"mer_one","reference":"wage-doubled","amount":1000,"currency":"GHS","status":"processing","status_detail":null,"payee":{"msisdn":"233241234567","network":"mtn","name":null},"rail":"mtn_momo","provider_transaction_id":null,"routing":{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"},"last_error":null,"attempts":[{"id":"att_01m8demcetrk1pszx9jq7jtaf4","object":"attempt","rail":"mtn_momo","operation":"payout","reference":"0a9eedbf-82a9-4ce1-9234-4790d7978302","state":"acknowledged","evidence":"accepted","started_at":"2026-11-27T02:51:25.530Z","latency_ms":1,"provider_code":null,"error":null,"retry_decision":null}],"description":null,"expires_at":"2026-11-28T02:51:25.530Z","created_at":"2026-11-27T02:51:25.530Z","updated_at":"2026-11-27T02:51:25.530Z","version":1,"metadata":{},"livemode":false}', 'UTF8'), '2026-11-27 02:51:25.531088+00', '2026-11-27 02:51:25.538545+00');
INSERT INTO public.installation_keys VALUES
	('payer_networks', '\x5be0dfdc2fa743ee1595ad056c64efb7455e419f03c3ffdaafb3af8e89d9ae2e');
INSERT INTO public.merchants VALUES
	('mer_one', 'mer_one', '2026-11-27 02:51:23.37443+00'),
	('mer_two', 'mer_two', '2026-11-27 02:51:23.394081+00');
INSERT INTO public.payments VALUES
	('pay_01m8dembnbbj07gnc09rkary82', 'mer_one', false, 'order-plain', 2000, 'GHS', '233241234567', NULL, '2026-11-27 02:51:24.715334+00', '2026-11-27 02:51:24.876648+00', '2026-11-27 03:06:24.715334+00', 'succeeded', NULL, 'mtn_momo', 'mtn_momo', '9281767401', NULL, NULL, 2000, 300, 1, NULL, '{}', '{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"}', 4, 2, NULL, NULL, false, 'mv_01m8dembq9zdd5yex1f645d560'),
	('pay_01m8demc01312mw66t7zzte2a4', 'mer_one', false, 'order-slash', 2000, 'GHS', '233241234567', NULL, '2026-11-27 02:51:25.057407+00', '2026-11-27 02:51:25.201922+00', '2026-11-27 03:06:25.057407+00', 'succeeded', NULL, 'mtn_momo', 'mtn_momo', '5190507346', NULL, NULL, 2000, 300, 1, NULL, '{}', '{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"}', 4, 2, NULL, NULL, false, 'mv_01m8demc17q5w70kar71g5akng'),
	('pay_01m8demc9fnnchb3cxz71md0x3', 'mer_one', false, 'order-doubled', 2000, 'GHS', '233241234567', NULL, '2026-11-27 02:51:25.359497+00', '2026-11-27 02:51:25.514927+00', '2026-11-27 03:06:25.359497+00', 'succeeded', NULL, 'mtn_momo', 'mtn_momo', '2061737685', NULL, NULL, 2000, 300, 1, NULL, '{}', '{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"}', 4, 2, NULL, NULL, false, 'mv_01m8demcb15pkg5hcszqb02s8d');
INSERT INTO public.payouts VALUES
	('po_01m8demcetymww2dxw45j93s7c', 'mer_one', false, 'wage-doubled', 1000, 'GHS', '233241234567', NULL, NULL, '2026-11-27 02:51:25.530451+00', '2026-11-27 02:51:25.617412+00', '2026-11-28 02:51:25.530451+00', 'succeeded', NULL, 'mtn_momo', 'mtn_momo', '4446082818', NULL, 1, NULL, '{}', '{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"}', 2, 2, NULL, NULL, false, 'mv_01m8demchh6hswfgcnzszy7wgm'),
	('po_01m8dembwhdad11kkpap98emfq', 'mer_one', false, 'wage-plain', 1000, 'GHS', '233241234567', NULL, NULL, '2026-11-27 02:51:24.945009+00', '2026-11-27 02:51:24.984443+00', '2026-11-28 02:51:24.945009+00', 'succeeded', NULL, 'mtn_momo', 'mtn_momo', '8289415684', NULL, 1, NULL, '{}', '{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"}', 2, 2, NULL, NULL, false, 'mv_01m8dembxr92nekrfxhtma60g4'),
	('po_01m8demc5k5en10fgqvs5w5q2z', 'mer_one', false, 'wage-slash', 1000, 'GHS', '233241234567', NULL, NULL, '2026-11-27 02:51:25.235182+00', '2026-11-27 02:51:25.302261+00', '2026-11-28 02:51:25.235182+00', 'succeeded', NULL, 'mtn_momo', 'mtn_momo', '8519080472', NULL, 1, NULL, '{}', '{"chosen":"mtn_momo","considered":[{"rail":"mtn_momo","score":1.0},{"rail":"paystack","score":0.0,"skipped":"another_rail_pinned"},{"rail":"hubtel","score":0.0,"skipped":"another_rail_pinned"},{"rail":"pawapay","score":0.0,"skipped":"another_rail_pinned"}],"reason":"pinned"}', 2, 2, NULL, NULL, false, 'mv_01m8demc7p119xqw583b011hbx');
INSERT INTO public.refunds VALUES
	('re_01m8dembr962ek7k43d1jshhf0', 'mer_one', false, 'pay_01m8dembnbbj07gnc09rkary82', 'att_01m8dembnbaxq5xbmbmt559z3g', 300, 'GHS', '2026-11-27 02:51:24.809967+00', '2026-11-27 02:51:24.876648+00', 'succeeded', NULL, 'mtn_momo', NULL, NULL, 2, 2, NULL, NULL, false, 'mv_01m8dembtc77j9jbfnkaj2f0nb', false, false),
	('re_01m8demc26kytj2wkyn3zkj24m', 'mer_one', false, 'pay_01m8demc01312mw66t7zzte2a4', 'att_01m8demc013fcb9cvan0afvayt', 300, 'GHS', '2026-11-27 02:51:25.12654+00', '2026-11-27 02:51:25.201922+00', 'succeeded', NULL, 'mtn_momo', NULL, NULL, 2, 2, NULL, NULL, false, 'mv_01m8demc4h8pmffprxypb2k192', false, false),
	('re_01m8demcdcmaw6permknkk5rn4', 'mer_one', false, 'pay_01m8demc9fnnchb3cxz71md0x3', 'att_01m8demc9fxxmfxk5v2zhmhrz4', 300, 'GHS', '2026-11-27 02:51:25.484423+00', '2026-11-27 02:51:25.514927+00', 'succeeded', NULL, 'mtn_momo', NULL, NULL, 2, 2, NULL, NULL, false, 'mv_01m8demceaznds3vy801fsbfby', false, false);
INSERT INTO public.schema_migrations VALUES
	('0001'),
	('0002'),
	('0003'),
	('0004'),
	('0005'),
	('0006'),
	('0007'),
	('0008');
SELECT pg_catalog.setval('public.audit_position_seq', 1, false);
SELECT pg_catalog.setval('public.events_position_seq', 18, true);
SELECT pg_catalog.setval('public.timeline_position_seq', 33, true);
ALTER TABLE ONLY public.payouts
    ADD CONSTRAINT a_payouts_reference_is_used_once UNIQUE (merchant_id, livemode, reference);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT a_reference_is_used_once UNIQUE (merchant_id, livemode, reference);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT an_attempt_has_its_own_place UNIQUE (order_id, sequence);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT an_attempt_has_its_own_reference UNIQUE (reference);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT an_attempt_has_its_own_token UNIQUE (callback_token);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_secret_hash_key UNIQUE (secret_hash);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY public.contradictions
    ADD CONSTRAINT contradictions_pkey PRIMARY KEY (move_id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (event_id, endpoint_id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_order_id_key UNIQUE (order_id);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (scope, key);
ALTER TABLE ONLY public.installation_keys
    ADD CONSTRAINT installation_keys_pkey PRIMARY KEY (purpose);
ALTER TABLE ONLY public.merchants
    ADD CONSTRAINT merchants_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.payer_networks
    ADD CONSTRAINT payer_networks_pkey PRIMARY KEY (payer);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.payouts
    ADD CONSTRAINT payouts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.rail_standings
    ADD CONSTRAINT rail_standings_pkey PRIMARY KEY (rail, operation);
ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.request_claims
    ADD CONSTRAINT request_claims_pkey PRIMARY KEY (scope, key);
ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.timeline
    ADD CONSTRAINT timeline_pkey PRIMARY KEY (order_id, "position");
ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id);
CREATE INDEX attempts_of_rail ON public.attempts USING btree (rail, started_at);
CREATE INDEX contradictions_by_age ON public.contradictions USING btree (recorded_at);
CREATE INDEX contradictions_of_order ON public.contradictions USING btree (order_id);
CREATE INDEX deliveries_due ON public.deliveries USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX deliveries_due_of_endpoint ON public.deliveries USING btree (endpoint_id, due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX events_in_order ON public.events USING btree (merchant_id, livemode, xact, "position");
CREATE INDEX idempotency_by_age ON public.idempotency USING btree (created_at);
CREATE UNIQUE INDEX one_attempt_that_may_move_money ON public.attempts USING btree (order_id) WHERE (state = ANY (ARRAY['prepared'::text, 'acknowledged'::text, 'unknown'::text, 'succeeded'::text]));
CREATE UNIQUE INDEX one_exclusive_refund_at_a_time ON public.refunds USING btree (payment_id) WHERE (exclusive AND (status = 'processing'::text));
CREATE UNIQUE INDEX one_refund_of_a_surplus ON public.refunds USING btree (attempt_id) WHERE (surplus AND (status <> 'failed'::text));
CREATE INDEX payer_networks_by_age ON public.payer_networks USING btree (seen_at);
CREATE INDEX payments_due ON public.payments USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX payments_for_a_human ON public.payments USING btree (status_detail, updated_at) WHERE (status_detail = ANY (ARRAY['under_review'::text, 'risk_review'::text]));
CREATE INDEX payments_newest ON public.payments USING btree (merchant_id, livemode, created_at, id);
CREATE INDEX payments_not_succeeded ON public.payments USING btree (merchant_id, livemode, status, created_at, id) WHERE (status <> 'succeeded'::text);
CREATE INDEX payments_of_payer ON public.payments USING btree (merchant_id, livemode, payer_msisdn, created_at, id);
CREATE INDEX payouts_due ON public.payouts USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX payouts_for_a_human ON public.payouts USING btree (updated_at) WHERE (status_detail = 'under_review'::text);
CREATE INDEX payouts_newest ON public.payouts USING btree (merchant_id, livemode, created_at, id);
CREATE INDEX refunds_due ON public.refunds USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX refunds_for_a_human ON public.refunds USING btree (updated_at) WHERE (status_detail = 'under_review'::text);
CREATE INDEX refunds_of_payment ON public.refunds USING btree (payment_id);
CREATE INDEX request_claims_by_age ON public.request_claims USING btree (created_at);
CREATE INDEX webhook_endpoints_of_merchant ON public.webhook_endpoints USING btree (merchant_id, livemode) WHERE (status <> 'removed'::text);
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF state ON public.attempts FOR EACH ROW WHEN (((old.state = ANY (ARRAY['succeeded'::text, 'declined'::text, 'not_sent'::text])) AND (new.state <> old.state))) EXECUTE FUNCTION public.refuse_to_leave_an_end('a final state');
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF status ON public.payments FOR EACH ROW WHEN (((old.status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'canceled'::text])) AND (new.status <> old.status))) EXECUTE FUNCTION public.refuse_to_leave_an_end('a final status');
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF status ON public.payouts FOR EACH ROW WHEN (((old.status = ANY (ARRAY['succeeded'::text, 'failed'::text])) AND (new.status <> old.status))) EXECUTE FUNCTION public.refuse_to_leave_an_end('a final status');
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF status ON public.refunds FOR EACH ROW WHEN (((old.status = ANY (ARRAY['succeeded'::text, 'failed'::text])) AND (new.status <> old.status))) EXECUTE FUNCTION public.refuse_to_leave_an_end('a final status');
ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT a_refund_names_its_debit FOREIGN KEY (attempt_id) REFERENCES public.attempts(id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES public.merchants(id);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(id);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES public.payouts(id);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_refund_id_fkey FOREIGN KEY (refund_id) REFERENCES public.refunds(id);
ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES public.payments(id);
