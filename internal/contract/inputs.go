package contract

// What scenarios look at beside messages of devices: changes of cases, and answers of commands. To the engine both are messages, of a profile that
// every version has. The names begin with a capital, so no object can have them.
const (
	CaseProfile    = "Case"
	CommandProfile = "Command"
	// CaseFleet is the fleet that messages about cases are of; the device is the id of the case.
	CaseFleet = "Case"
)

// Acts of scenarios on cases.
const (
	ActReopen   = "Reopen"
	ActEscalate = "Escalate"
)

// Ledger is an entry in an account.
type Ledger struct {
	Name string `json:"name"`
	// Subject and Amount are CEL: whose account, and how much.
	Subject string `json:"subject"`
	Amount  string `json:"amount"`
	// DailyCap is the most that a subject gets in a local day; nil is no bound.
	DailyCap *float64 `json:"dailyCap,omitempty"`
}

// InputProfile gives the fields of what is no device; ok is false for any other name.
func InputProfile(name string) (p Profile, ok bool) {
	text, level, score := Field{Type: "String"}, Field{Type: "Integer", Min: new(0.0), Max: new(4.0)}, Field{Type: "Integer", Min: new(1.0), Max: new(5.0)}
	switch name {
	case CaseProfile:
		return Profile{Fields: map[string]Field{"event": text, "state": text, "severity": text, "class": text, "scenario": text, "source": text, "channel": text,
			"level": level, "score": score, "overdue": {Type: "Boolean"}, "number": text}}, true
	case CommandProfile:
		return Profile{Fields: map[string]Field{"command": text, "state": text, "reason": text, "sender": text, "scenario": text}}, true
	}
	return Profile{}, false
}
