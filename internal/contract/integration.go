package contract

// Integration is a system that cases are exchanged with: each side keeps the other's number of a case. Its name is what it calls itself in
// the origin of cases; the platform calls itself by Platform.Name.
type Integration struct {
	DisplayName string `json:"displayName,omitempty"`
	// URL is the base address of its interface, without a slash at the end.
	URL string `json:"url"`
	// CABundle is PEM; empty trusts the system's roots.
	CABundle string `json:"caBundle,omitempty"`
	// PollSeconds is the time between two questions for what changed there; 0 where it calls itself.
	PollSeconds int64 `json:"pollSeconds,omitempty"`
	// Inbound and Outbound say which way cases go.
	Inbound  bool `json:"inbound,omitempty"`
	Outbound bool `json:"outbound,omitempty"`
	// Organization as which the system acts: it alone speaks for it, and what it does not see does not go there.
	Organization string `json:"organization"`
	// CaseClasses that are exchanged; empty is all.
	CaseClasses []string `json:"caseClasses,omitempty"`
}

// Kinds of files with which the grid service shows who it is to an integration; see IntegrationFile.
const (
	IntegrationToken       = "token"
	IntegrationCertificate = "tls.crt"
	IntegrationKey         = "tls.key"
)

// IntegrationFile names the file, in the folder of webhook secrets, that holds a credential of an integration. No name of an organisation has a dot.
func IntegrationFile(integration, kind string) string {
	return "integration." + integration + "." + kind
}

// IntegrationReport says how the exchange with a system stands.
type IntegrationReport struct {
	// Received and Sent count what was taken from the system and what the system took.
	Received int64 `json:"received,omitempty"`
	Sent     int64 `json:"sent,omitempty"`
	// Conflicts count what one side asked for and the other did not take.
	Conflicts int64 `json:"conflicts,omitempty"`
	// Unreconciled are cases on which the two sides did not agree when they were last compared.
	Unreconciled int64 `json:"unreconciled,omitempty"`
	// LastError is empty where the last call succeeded. It never has content of a case.
	LastError string `json:"lastError,omitempty"`
}
