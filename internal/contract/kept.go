package contract

// Kept says of one table or stream how long it is kept.
type Kept struct {
	// What is "<schema>.<table>", or the name of a JetStream stream.
	What string
	// Long is how long: a field of the GridPlatform, a time, or as long as what it belongs to.
	Long string
	// Why is the law, or "ours".
	Why string
	// By is what deletes: a worker, the server, what it hangs on.
	By string
}

// Kepts has a line for every table and stream of a platform: a test holds it against the migrations and the broker, another against
// docs/guides/residents-rights.md. A new table without a line fails it.
func Kepts() []Kept {
	const (
		cases, notes, deliveries = "spec.retention.cases, by class", "spec.retention.attachments, by class (C3: 720h)", "spec.retention.deliveries"
		signals, decisions       = "by profile, or spec.retention.signals by class (C2, C3: 720h)", "bodies: spec.retention.decisionLog, 180 days at least"
		csl, proof, ours         = "Cybersecurity Law: network logs, six months", "PIPL 69 and Civil Code 188: three years to claim", "ours"
		grid, vault              = "grid, every minute", "vault, every hour"
		stands, chain            = "as long as it stands", "headers: for good; they name nobody"
	)
	return []Kept{
		{"grid.cases", cases, ours, grid}, {"grid.case_history", "with its case", ours, "the case"},
		{"grid.case_notes", notes, ours, grid}, {"grid.dispatch_outbox", deliveries, ours, grid}, {"grid.idempotency", "with its case", ours, "the case"},
		{"grid.commands", cases, ours, grid}, {"grid.command_history", "with its command", ours, "the command"}, {"grid.command_answers", "until the engine has read it", ours, "the engine"},
		{"grid.desired", stands, ours, "one row a device"}, {"grid.desired_history", "for good; it names devices and posts", ours, "nothing"},
		{"grid.devices", stands, ours, "the registry"}, {"grid.devices_seen", stands, ours, "one row a device"}, {"grid.engine_keys", stands, ours, "the engine"}, {"grid.engine_state", stands, ours, "the engine"},
		{"grid.telemetry_hourly", signals, ours, grid}, {"grid.signals_kept", stands, ours, "one row a fleet"},
		{"grid.ingest_position", stands, ours, "one row"}, {"grid.edge_position", stands, ours, "one row an edge node"}, {"grid.invalid_messages", stands, ours, "one row a fleet"},
		{"grid.roster", stands, ours, "whoever keeps the roster"}, {"grid.migrations", stands, ours, "nothing"},
		{"grid.alarms_waiting", "until it opens a case or ends, a day at most", ours, grid}, {"grid.case_alarms", "with its case", ours, "the case"}, {"grid.case_parties", "with its case", ours, "the case"}, {"grid.timers", "until it is due, or with its case", ours, "the case"},
		{"grid.attachments", "with its case", ours, "the case"}, {"grid.attachment_parts", notes, ours, grid}, {"grid.report_contacts", notes, ours, grid},
		{"grid.receipts", "with its case", ours, "the case"}, {"grid.ratings", "with its case", ours, "the case"}, {"grid.mirrors", "with its case", ours, "the case"}, {"grid.exchange", stands, ours, "one row a system"},
		{"grid.changes", deliveries, ours, grid}, {"grid.feed_position", stands, ours, "one row a reader"}, {"grid.modes", "for good; it names posts and pseudonyms", ours, "nothing"},
		{"grid.people", stands, ours, "the organization"}, {"grid.shifts", stands, ours, "the organization"}, {"grid.substitutes", stands, ours, "the organization"},
		{"grid.people_reads", "for good: who read phones", ours, "nothing"}, {"grid.facts", stands, ours, "whoever sets it"}, {"grid.ledger", cases, ours, grid},
		{"grid.consents", "3 years after its end", proof, vault},
		{"audit.lines", decisions + "; " + chain, csl, vault}, {"audit.line_subjects", "with the body", csl, "the body"}, {"audit.subject_lists", "with the last body that names it", csl, "the body"},
		{"audit.checkpoints", "for good; they name nobody", ours, "nothing"}, {"audit.policy_objects", "for good: to decide again", ours, "nothing"}, {"audit.leases", "for good: to decide again", ours, "nothing"},
		{"audit.public_keys", "for good: to check what they signed", ours, "nothing"},
		{"audit.break_glass", "who and why: as long as the bodies; the rest for good", csl, vault}, {"audit.use", "for good; it counts", ours, "nothing"},
		{"vault.subjects", "the random id: for good", ours, "nothing"}, {"vault.keys", "until erasure", "PIPL 47", "dizuo subject erase"}, {"vault.identities", "until erasure", "PIPL 47", "dizuo subject erase"},
		{"vault.relations", "until erasure", "PIPL 47", "dizuo subject erase"},
		{"vault.erasing", "pseudonyms, until no line of the log that is kept is found by them", "PIPL 47", vault},
		{"vault.receipts", "for good: they prove the erasure", ours, "nothing"}, {"vault.tasks", "3 years after it is done; its text until then", proof, vault},

		{IngestStream, "spec.broker.ingest.maxAge", ours, "the broker"},
		{"$MQTT_sess", "7 days", ours, "the broker"}, {"$MQTT_rmsgs", "the last of each topic", ours, "the next message"},
		{"$MQTT_qos2in", "nothing is in it", ours, "the broker"}, {"$MQTT_out", "nothing is in it", ours, "the broker"},
		{"KV_" + LeaseBucket, "the last four of each scope", ours, "the next lease"}, {"KV_" + ReportBucket, "10 minutes", ours, "the broker"},
		{"KV_" + EnrolledBucket, stands, ours, "the role auth"}, {"OBJ_" + BundleStore, "the last three revisions", ours, "the operator"},
	}
}

// Row gives the line as a row of a Markdown table.
func (k Kept) Row() string {
	return "| `" + k.What + "` | " + k.Long + " | " + k.Why + " | " + k.By + " |"
}
