-- The gateway where it reads datasets: it writes nothing. It has two more users, one that writes the log and cannot change it, and one of the
-- vault that reads no dataset.
GRANT USAGE ON SCHEMA grid, datasets TO dizuo_gateway;
REVOKE ALL ON grid.consents FROM dizuo_gateway;
GRANT SELECT (subject, scope, purposes, given_at, withdrawn_at, expires_at) ON grid.consents TO dizuo_gateway;
ALTER DEFAULT PRIVILEGES IN SCHEMA datasets GRANT SELECT ON TABLES TO dizuo_gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA datasets TO dizuo_gateway;
GRANT USAGE ON SCHEMA platform TO dizuo_gateway;
GRANT SELECT ON platform.cases, platform.devices, platform.telemetry, platform.case_facts, platform.roster TO dizuo_gateway;
-- Parameters of its statements hold keys and values: they stay out of the server's log. Only a superuser may say so; where the owner is none,
-- the guide to an external database does.
DO $$ BEGIN
    ALTER ROLE dizuo_gateway SET log_parameter_max_length = 0;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;
