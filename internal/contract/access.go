package contract

import "time"

// Access is the document below "dizuo" of ShardAccess.
type Access struct {
	// Datasets by name.
	Datasets map[string]Dataset `json:"datasets"`
	// Grants by dataset, consumer and agreement: a decision is a lookup, never a scan.
	Grants map[string]map[string]map[string]Grant `json:"grants"`
}

// Dataset is an entry of the sharing list (信息共享清单), as the gateway sees it.
type Dataset struct {
	// Provider is the organisation that answers for the data.
	Provider string `json:"provider"`
	// Sharing is "Unconditional", "Conditional" or "None" (政务数据共享条例).
	Sharing string `json:"sharing"`
	// Category is "Ordinary", "KeyPopulation", "Biometric" and so on; guardrails look at it.
	Category string `json:"category"`
	// Fields by name.
	Fields map[string]DatasetField `json:"fields"`
	Source Source                  `json:"source"`
	// ConsentScope is the scope that a subject must have consented to; empty needs no consent.
	ConsentScope string `json:"consentScope,omitempty"`
}

// Personal reports whether one of the fields is personal data.
func (d Dataset) Personal(fields []string) bool {
	for _, name := range fields {
		if f, ok := d.Fields[name]; ok && f.Personal != "None" {
			return true
		}
	}
	return false
}

// DatasetField is a field of a dataset.
type DatasetField struct {
	// Type is "Number", "Integer", "Boolean", "String", "Time" or "Enum".
	Type string `json:"type"`
	// Column in the source table.
	Column string `json:"column"`
	// Grade is "General1" to "General4", "Important" or "Core" (GB/T 43697-2024).
	Grade string `json:"grade"`
	// Personal is "None", "Ordinary", "Sensitive" or "Biometric".
	Personal string `json:"personal"`
}

// Source is a table of the platform's own PostgreSQL.
type Source struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	// KeyColumn orders records for paging: unique and never changed.
	KeyColumn string `json:"keyColumn"`
	// CommunityColumn holds the 12-digit division code. A dataset without one has no row scope and is read whole.
	CommunityColumn string `json:"communityColumn,omitempty"`
	// SubjectColumn holds the pseudonym of the person that the row is about.
	SubjectColumn string `json:"subjectColumn,omitempty"`
}

// Grant is an agreement in force, for one dataset and one consumer.
type Grant struct {
	// UID and Generation of the DataSharingAgreement, for the decision log.
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
	// Digest that the approvals were given for.
	Digest string `json:"digest"`
	// Fields that may be read, each with its mask.
	Fields map[string]Mask `json:"fields"`
	Rows   Rows            `json:"rows"`
	// Purposes that may be claimed.
	Purposes []string `json:"purposes"`
	// Roles of persons; for personal data one of them must be shown.
	Roles []string `json:"roles,omitempty"`
	// PersonRequired asks for a person's token beside the organisation's certificate.
	PersonRequired bool `json:"personRequired,omitempty"`
	// CaseNumberRequired asks for a case number with every request.
	CaseNumberRequired bool `json:"caseNumberRequired,omitempty"`
	// NotBefore and NotAfter bound the validity, in Unix seconds; 0 means unbounded.
	NotBefore int64 `json:"notBefore"`
	NotAfter  int64 `json:"notAfter"`
	// RequestsPerDay and RecordsPerDay bound the use; 0 means unbounded.
	RequestsPerDay int64 `json:"requestsPerDay,omitempty"`
	RecordsPerDay  int64 `json:"recordsPerDay,omitempty"`
}

// Mask of a field. The zero value leaves the field as it is.
type Mask struct {
	// Method is "", "Pseudonym", "KeepLast", "Generalise" or "Drop".
	Method string `json:"method,omitempty"`
	// Keep is the number of characters that KeepLast keeps.
	Keep int `json:"keep,omitempty"`
	// To is what Generalise rounds to: "Year", "Month", "Day", or a number such as "10".
	To string `json:"to,omitempty"`
}

// Rows that a grant reaches.
type Rows struct {
	// Divisions are code prefixes; a row must lie under one.
	Divisions []string `json:"divisions"`
	// Communities narrows to these objects; empty does not narrow.
	Communities []string `json:"communities,omitempty"`
	// Requirements on columns, all of which must hold.
	Requirements []Requirement `json:"requirements,omitempty"`
}

// Requirement is a label-selector style condition on a field.
type Requirement struct {
	Field string `json:"field"`
	// Operator is "In", "NotIn", "Exists" or "DoesNotExist".
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// DecisionInput is the `input` of policies/access.
type DecisionInput struct {
	Dataset string `json:"dataset"`
	// Consumer is the organisation that the client certificate speaks for.
	Consumer string `json:"consumer"`
	// Agreement that the request names; empty if it names none.
	Agreement string `json:"agreement,omitempty"`
	// Fields asked for; empty asks for all that the grant gives.
	Fields  []string `json:"fields,omitempty"`
	Purpose string   `json:"purpose"`
	// CaseNumber given with the request.
	CaseNumber string `json:"caseNumber,omitempty"`
	// Person is who reads; nil if no token was shown.
	Person *Person `json:"person,omitempty"`
	// Now is the time of the decision in Unix seconds: policy has no clock of its own.
	Now int64 `json:"now"`
}

// Person who reads, as the organisation's token says.
type Person struct {
	Subject string `json:"subject"`
	Role    string `json:"role"`
}

// Decision is the result of policies/access.
type Decision struct {
	Allow bool `json:"allow"`
	// Reasons say why not, sorted, as stable codes such as "NoAgreement"; empty when allowed.
	Reasons []string `json:"reasons"`
	// Agreement that was used.
	Agreement string `json:"agreement,omitempty"`
	// Fields to return, each with its mask.
	Fields map[string]Mask `json:"fields,omitempty"`
	Rows   *Rows           `json:"rows,omitempty"`
}

// LogRecord is one line of the gateway's decision log. Hash covers the record without Hash; Previous is the hash of the
// line before, so a line cannot be changed, dropped or moved without breaking what follows.
type LogRecord struct {
	// Kind is "decision", "release" or "end".
	Kind string `json:"kind"`
	// Sequence counts lines from 1.
	Sequence int64     `json:"sequence"`
	Time     time.Time `json:"time"`
	// Request joins the records of one request.
	Request string `json:"request"`
	// Instance is the gateway that wrote the record.
	Instance string `json:"instance"`

	Dataset    string   `json:"dataset,omitempty"`
	Consumer   string   `json:"consumer,omitempty"`
	Person     string   `json:"person,omitempty"`
	Role       string   `json:"role,omitempty"`
	Purpose    string   `json:"purpose,omitempty"`
	CaseNumber string   `json:"caseNumber,omitempty"`
	Agreement  string   `json:"agreement,omitempty"`
	UID        string   `json:"uid,omitempty"`
	Generation int64    `json:"generation,omitempty"`
	Fields     []string `json:"fields,omitempty"`
	Revision   string   `json:"revision,omitempty"`
	Lease      int64    `json:"lease,omitempty"`
	Allow      bool     `json:"allow"`
	Reasons    []string `json:"reasons,omitempty"`
	// Rows released by this record.
	Rows int64 `json:"rows,omitempty"`
	// Subjects are keyed pseudonyms of the persons that the released rows are about.
	Subjects []string `json:"subjects,omitempty"`

	// Algorithm of the chain, "sha256".
	Algorithm string `json:"algorithm"`
	Previous  string `json:"previous"`
	Hash      string `json:"hash,omitempty"`
}
