-- +goose Up
-- A command that is over goes when its time to be kept is over, and its history with it; never alone, and never before.
CREATE INDEX commands_over ON grid.commands (greatest(expires_at, acknowledged_at, finished_at)) WHERE state <> 'Pending';
CREATE INDEX commands_cause ON grid.commands (cause) WHERE cause IS NOT NULL;
-- How many an organisation, and a person, gave of late.
CREATE INDEX commands_given ON grid.commands (organization, created_at) WHERE organization <> '';
CREATE INDEX desired_given ON grid.desired_history (organization, at) WHERE organization <> '';

ALTER TABLE grid.command_history DROP CONSTRAINT command_history_command_id_fkey,
    ADD CONSTRAINT command_history_command_id_fkey FOREIGN KEY (command_id) REFERENCES grid.commands (id) ON DELETE CASCADE;
DROP TRIGGER command_history_append_only ON grid.command_history;
CREATE TRIGGER command_history_append_only BEFORE UPDATE OR TRUNCATE ON grid.command_history
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();

-- +goose StatementBegin
CREATE FUNCTION grid.with_its_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM grid.commands c WHERE c.id = OLD.command_id) THEN
        RAISE EXCEPTION 'history of command % goes with the command alone', OLD.command_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION grid.not_in_work() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'Pending' THEN
        RAISE EXCEPTION 'command % is in work', OLD.id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER command_history_goes_along BEFORE DELETE ON grid.command_history
    FOR EACH ROW EXECUTE FUNCTION grid.with_its_command();
CREATE TRIGGER commands_not_in_work BEFORE DELETE ON grid.commands
    FOR EACH ROW EXECUTE FUNCTION grid.not_in_work();
