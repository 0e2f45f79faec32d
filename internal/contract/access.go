package contract

// Access is the document below "dizuo" of ShardAccess.
type Access struct {
	// Datasets by name.
	Datasets map[string]Dataset `json:"datasets"`
	// Grants by dataset, consumer and agreement: a decision is a lookup, never a scan.
	Grants map[string]map[string]map[string]Grant `json:"grants"`
}

// Dataset is an entry of the sharing list (信息共享清单), as the gateway sees it.
type Dataset struct {
	// DisplayName for people.
	DisplayName string `json:"displayName,omitempty"`
	// ItemCode in the city's catalogue.
	ItemCode string `json:"itemCode,omitempty"`
	// Provider is the organisation that answers for the data.
	Provider string `json:"provider"`
	// Writer is the one organisation that writes it.
	Writer string `json:"writer,omitempty"`
	// Sharing is "Unconditional", "Conditional" or "None" (政务数据共享条例).
	Sharing string `json:"sharing"`
	// Category is "Ordinary", "KeyPopulation", "Biometric" and so on; guardrails look at it.
	Category string `json:"category"`
	// Class is the data class, "C0" to "C3", of all fields together.
	Class string `json:"class,omitempty"`
	// Fields by name.
	Fields map[string]DatasetField `json:"fields"`
	Source Source                  `json:"source"`
	// ConsentScope is the scope that a subject must have consented to; empty needs no consent.
	ConsentScope string `json:"consentScope,omitempty"`
	// Freshness and Quality are what is expected of the data; the gateway measures it.
	Freshness *Freshness `json:"freshness,omitempty"`
	Quality   *Quality   `json:"quality,omitempty"`
}

// Freshness is how old data may be.
type Freshness struct {
	// Column with the time of a record's last change.
	Column string `json:"column"`
	// MaxAgeSeconds is the greatest age of the newest record.
	MaxAgeSeconds int64 `json:"maxAgeSeconds"`
}

// Quality figures in percent; nil says nothing of one. In a Dataset they are what is expected, in a DatasetReport what was measured.
type Quality struct {
	// Completeness is how many of the required fields are filled.
	Completeness *int32 `json:"completeness,omitempty"`
	// Accuracy is how many values fit their type and enum.
	Accuracy *int32 `json:"accuracy,omitempty"`
	// Timeliness is how many records are younger than Freshness says.
	Timeliness *int32 `json:"timeliness,omitempty"`
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
	// Type is "Number", "Integer", "Boolean", "String", "Date", "Time" or "Enum".
	Type string `json:"type"`
	// Unit of a number, after UCUM.
	Unit string `json:"unit,omitempty"`
	// Enum lists the values of type "Enum".
	Enum []string `json:"enum,omitempty"`
	// Required says that a record without it is incomplete.
	Required bool `json:"required,omitempty"`
	// Column in the source table.
	Column string `json:"column"`
	// Grade is "General1" to "General4", "Important" or "Core" (GB/T 43697-2024).
	Grade string `json:"grade"`
	// Personal is "None", "Ordinary", "Sensitive" or "Biometric".
	Personal string `json:"personal"`
}

// Source is a table or view in PostgreSQL.
type Source struct {
	// Type is "Table" or, of the platform's own, "Cases", "Devices" or "Telemetry"; empty means "Table".
	Type string `json:"type,omitempty"`
	// DSN is the file below GatewayConfig.SourceDir with the connection string of the provider's PostgreSQL; empty means the platform's.
	DSN    string `json:"dsn,omitempty"`
	Schema string `json:"schema"`
	Table  string `json:"table"`
	// KeyColumn orders records for paging: unique and never changed.
	KeyColumn string `json:"keyColumn"`
	// CommunityColumn holds the name of the row's Community, DivisionColumn its 12-digit division code; one of them is enough. A
	// dataset with neither has no row scope and is read whole.
	CommunityColumn string `json:"communityColumn,omitempty"`
	DivisionColumn  string `json:"divisionColumn,omitempty"`
	// GridColumn and CompoundColumn hold the names of the row's grid and compound.
	GridColumn     string `json:"gridColumn,omitempty"`
	CompoundColumn string `json:"compoundColumn,omitempty"`
	// SubjectColumn holds the pseudonym of the person that the row is about.
	SubjectColumn string `json:"subjectColumn,omitempty"`
}

// Grant is an agreement in force, for one dataset and one consumer. A limit that is set and that a gateway does not enforce makes
// the gateway refuse.
type Grant struct {
	// UID and Generation of the DataSharingAgreement, for the decision log.
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
	// Digest that the approvals were given for.
	Digest string `json:"digest"`
	// Relied is the digest of what the approvals rely on beside the agreement's text.
	Relied string `json:"relied,omitempty"`
	// ConsumerNamespace is that of the Organization for which it was approved: one of its name in another is refused. It holds where the
	// directory has the successor of a name already, and this agreement was not looked at since. Empty holds for any.
	ConsumerNamespace string `json:"consumerNamespace,omitempty"`
	// Provider of the dataset, and ExternalRef, the agreement's number in the city's exchange platform; for whoever reads the log.
	Provider    string `json:"provider,omitempty"`
	ExternalRef string `json:"externalRef,omitempty"`
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
	// CaseNumber is the one case that the agreement is for; empty is for any.
	CaseNumber string `json:"caseNumber,omitempty"`
	// Case limits reading to cases of the platform; nil does not.
	Case *CaseCondition `json:"case,omitempty"`
	// Hours limit reading to hours of the day; nil does not.
	Hours *Hours `json:"hours,omitempty"`
	// ConsentScope is the scope that a subject must have consented to: the dataset's, or the agreement's own where its legal basis is
	// a consent. Empty needs no consent.
	ConsentScope string `json:"consentScope,omitempty"`
	// Aggregates allow counts and sums; nil allows none.
	Aggregates *Aggregates `json:"aggregates,omitempty"`
	// BreakGlass allows reading in an emergency; nil does not.
	BreakGlass *BreakGlass `json:"breakGlass,omitempty"`
	// NoOnward and RetentionSeconds are what the consumer must keep to; the answer tells it.
	NoOnward         bool  `json:"noOnward,omitempty"`
	RetentionSeconds int64 `json:"retentionSeconds,omitempty"`
	// NotBefore and NotAfter bound the validity, in Unix seconds; 0 means unbounded.
	NotBefore int64 `json:"notBefore"`
	NotAfter  int64 `json:"notAfter"`
	// RequestsPerDay and RecordsPerDay bound the use; 0 means unbounded.
	RequestsPerDay int64 `json:"requestsPerDay,omitempty"`
	RecordsPerDay  int64 `json:"recordsPerDay,omitempty"`
}

// CaseCondition limits reading to cases of the platform that are open, or were closed a short while ago.
type CaseCondition struct {
	// Classes of cases; empty takes every one.
	Classes []string `json:"classes,omitempty"`
	// MinSeverity is the least grave severity.
	MinSeverity Severity `json:"minSeverity"`
	// GraceSeconds is how long after the closing reading goes on.
	GraceSeconds int64 `json:"graceSeconds,omitempty"`
}

// Hours of a day in the platform's time zone.
type Hours struct {
	// From and To are minutes of the day, 0 to 1439: From counts, To does not. To that is not later than From is over midnight.
	From int `json:"from"`
	To   int `json:"to"`
	// WorkingDaysOnly counts, over midnight, the day on which the request is made.
	WorkingDaysOnly bool `json:"workingDaysOnly,omitempty"`
}

// Aggregates allow counts and sums.
type Aggregates struct {
	// Only allows nothing but aggregates.
	Only bool `json:"only,omitempty"`
	// SmallCell is the smallest group that is told.
	SmallCell int `json:"smallCell"`
	// Dimensions are the fields by which may be grouped, Measures those that may be summed.
	Dimensions []string `json:"dimensions,omitempty"`
	Measures   []string `json:"measures,omitempty"`
}

// BreakGlass allows reading in an emergency.
type BreakGlass struct {
	// Roles of persons who may.
	Roles []string `json:"roles"`
	// Reviewer is the organisation that is alerted and reviews.
	Reviewer string `json:"reviewer"`
	// ReviewSeconds is the time for the review.
	ReviewSeconds int64 `json:"reviewSeconds"`
}

// Mask of a field. The zero value leaves the field as it is.
type Mask struct {
	// Method is "", "Pseudonym", "KeepLast", "Generalise" or "Drop".
	Method string `json:"method,omitempty"`
	// Keep is the number of characters that KeepLast keeps.
	Keep int `json:"keep,omitempty"`
	// To is what Generalise rounds to: "Year", "Quarter", "Month", "Day", "Hour", or a number such as "10".
	To string `json:"to,omitempty"`
}

// Rows that a grant reaches. Every part narrows; all must hold.
type Rows struct {
	// Divisions are code prefixes; a row must lie under one.
	Divisions []string `json:"divisions"`
	// Communities narrows to these objects; empty does not narrow.
	Communities []string `json:"communities,omitempty"`
	// Grids narrows to grids of these names; empty does not narrow.
	Grids []string `json:"grids,omitempty"`
	// Compounds narrows to these, each as "<community>/<compound>"; empty does not narrow.
	Compounds []string `json:"compounds,omitempty"`
	// Roster narrows to where the roster has put the person who reads.
	Roster bool `json:"roster,omitempty"`
	// Requirements on columns, all of which must hold.
	Requirements []Requirement `json:"requirements,omitempty"`
}

// Requirement is a label-selector style condition on a field.
type Requirement struct {
	Field string `json:"field"`
	// Operator is "In", "NotIn", "Exists", "DoesNotExist", "AtLeast" or "AtMost".
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// ContractVersion counts what a gateway must enforce beside the policy: which parts of Grant, Rows and Source it turns into SQL. The
// policy of a bundle refuses at a gateway that enforces less than the bundle relies on (reason "GatewayOutdated"): a limit that an
// older gateway does not know would else be no limit while a platform is upgraded. Raise it, here and in access.rego, with each such
// part.
const ContractVersion = 3

// DecisionInput is the `input` of policies/access. All that a decision rests on beside the bundle is in it, so whoever has input and
// bundle can make the decision again. What is not known is left out.
type DecisionInput struct {
	// Contract is the ContractVersion of the gateway.
	Contract int    `json:"contract"`
	Dataset  string `json:"dataset"`
	// Consumer is the organisation that the client certificate, or the token, speaks for.
	Consumer string `json:"consumer"`
	// Clearance is the highest data class that the directory lets the consumer be given; empty is the lowest.
	Clearance string `json:"clearance,omitempty"`
	// Agreement that the request names; empty if it names none.
	Agreement string `json:"agreement,omitempty"`
	// Fields asked for; empty asks for all that the grant gives.
	Fields  []string `json:"fields,omitempty"`
	Purpose string   `json:"purpose"`
	// Aggregate is set where counts and sums are asked for and not records.
	Aggregate *AggregateRequest `json:"aggregate,omitempty"`
	// Filter narrows what is read further, by the consumer's own will.
	Filter []Requirement `json:"filter,omitempty"`
	// Case that the request names, and what is known of it; nil if it names none.
	Case *CaseFact `json:"case,omitempty"`
	// Person is who reads; nil if no token was shown.
	Person *Person `json:"person,omitempty"`
	// Clock is the local time; policy has no clock and no calendar.
	Clock *Clock `json:"clock,omitempty"`
	// BreakGlass is set where the request is made as an emergency.
	BreakGlass *BreakGlassRequest `json:"breakGlass,omitempty"`
	// Now is the time of the decision in Unix seconds: policy has no clock of its own.
	Now int64 `json:"now"`
}

// AggregateRequest asks for counts and sums.
type AggregateRequest struct {
	// By lists the fields to group by; none asks for one figure.
	By []string `json:"by,omitempty"`
	// Sum lists the fields to sum; records are always counted.
	Sum []string `json:"sum,omitempty"`
}

// CaseFact is a case that a request names.
type CaseFact struct {
	// Number as the request has it.
	Number string `json:"number"`
	// Origin is "Platform" for a case of ours, "Foreign" for a number that is not of our form and cannot be checked, and empty where
	// nobody looked or ours is not there.
	Origin string `json:"origin,omitempty"`
	// Open and the rest are known of a case of ours only. ClosedAt is in Unix seconds, 0 while it is open.
	Open      bool     `json:"open,omitempty"`
	Class     string   `json:"class,omitempty"`
	Severity  Severity `json:"severity,omitempty"`
	Community string   `json:"community,omitempty"`
	// Division of the community, by the directory.
	Division string `json:"division,omitempty"`
	ClosedAt int64  `json:"closedAt,omitempty"`
}

// Origins of a CaseFact.
const (
	CasePlatform = "Platform"
	CaseForeign  = "Foreign"
)

// Person who reads, as the organisation's or the issuer's token says.
type Person struct {
	Subject string   `json:"subject"`
	Roles   []string `json:"roles"`
	// Issuer is the OIDC provider by its name; empty for a token of the organisation itself.
	Issuer string `json:"issuer,omitempty"`
}

// Clock is a local time in the platform's zone and calendar.
type Clock struct {
	// Minute of the day, 0 to 1439.
	Minute int `json:"minute"`
	// WorkingDay after the platform's calendar.
	WorkingDay bool `json:"workingDay"`
}

// BreakGlassRequest is an emergency, as whoever reads says.
type BreakGlassRequest struct {
	Reason string `json:"reason"`
	// Overdue says that an earlier use under the agreement was not reviewed in time.
	Overdue bool `json:"overdue,omitempty"`
}

// DecidedByGateway marks a refusal that the gateway makes beside the policy, such as a quota that is used up.
const DecidedByGateway = "gateway"

// Decision is the result of policies/access.
type Decision struct {
	Allow bool `json:"allow"`
	// Reasons say why not, sorted, as stable codes such as "NoAgreement"; empty when allowed.
	Reasons []string `json:"reasons"`
	// By is DecidedByGateway where the gateway refused beside the policy, which may say otherwise. Older gateways did not write it.
	By string `json:"by,omitempty"`
	// Agreement that was used.
	Agreement string `json:"agreement,omitempty"`
	// Role of the person by which it is allowed.
	Role string `json:"role,omitempty"`
	// Fields to return, each with its mask.
	Fields map[string]Mask `json:"fields,omitempty"`
	Rows   *Rows           `json:"rows,omitempty"`
	// ConsentScope that each subject must have consented to; empty needs no consent.
	ConsentScope string `json:"consentScope,omitempty"`
	// SmallCell is the smallest group that an aggregate may tell.
	SmallCell int `json:"smallCell,omitempty"`
	// BreakGlass says that it is allowed as an emergency and would not be without.
	BreakGlass bool `json:"breakGlass,omitempty"`
}
