package fleetverify

import (
	"fmt"
	"strings"
	"time"
)

// Language of a report.
type Language int

// Languages.
const (
	English Language = iota
	Chinese
)

// Text is said in both languages, so that one report can be printed in either.
type Text struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// In gives the text in a language.
func (t Text) In(l Language) string {
	if l == Chinese {
		return t.ZH
	}
	return t.EN
}

// say fills in a phrase; both languages take the same arguments in the same order.
func say(en, zh string, args ...any) Text {
	if len(args) == 0 {
		return Text{en, zh}
	}
	return Text{fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)}
}

// and goes on with more; English takes a space before a new sentence.
func (t Text) and(more Text) Text {
	if strings.HasSuffix(t.EN, ".") {
		more.EN = " " + more.EN
	}
	return Text{t.EN + more.EN, t.ZH + more.ZH}
}

// Result of a check.
type Result string

// Results. NotProven is no failure: what the check asks could not be seen from here, and the evidence says why.
const (
	Passed    Result = "Passed"
	Failed    Result = "Failed"
	NotProven Result = "NotProven"
)

// Check is one check with its result.
type Check struct {
	// ID is stable: contracts and acceptance forms may refer to it.
	ID      string `json:"id"`
	Group   Group  `json:"group"`
	Title   Text   `json:"title"`
	Meaning Text   `json:"meaning"`
	Result  Result `json:"result"`
	// Evidence is what was seen. It holds no password, key or payload.
	Evidence Text `json:"evidence"`
	// Action is what to do; nil if the check passed.
	Action *Text `json:"action,omitempty"`
}

// Problem is what is wrong with a sample payload.
type Problem struct {
	// Sample is where it stands, such as "day.ndjson:3".
	Sample string `json:"sample"`
	// Field of the payload; empty if it is no object at all.
	Field string `json:"field,omitempty"`
	// Reason is "Unknown", "WrongType", "OutOfRange", "Missing", "NotAnObject", "TooLarge" or "TimeInFuture".
	Reason  string `json:"reason"`
	Message Text   `json:"message"`
}

// Unit is a declared number beside what the samples say, for a person to compare: no program can see a wrong unit.
type Unit struct {
	Field string `json:"field"`
	Unit  string `json:"unit"`
	// Declared range; nil is unbounded.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Seen range, in the samples.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Hint says what looks odd; nil if nothing does.
	Hint *Text `json:"hint,omitempty"`
}

// Report is the outcome of a run.
type Report struct {
	// Fleet, Device, ClientID, Address and Method ("X509" or "Password") are empty if payloads alone were checked.
	Fleet    string `json:"fleet,omitempty"`
	Device   string `json:"device,omitempty"`
	ClientID string `json:"clientID,omitempty"`
	// Address is host and port of the broker; Dialled is where the connection was made if that is elsewhere.
	Address string `json:"address,omitempty"`
	Dialled string `json:"dialled,omitempty"`
	Method  string `json:"method,omitempty"`
	// Profile is the name of the DeviceProfile; empty if none was given.
	Profile       string    `json:"profile,omitempty"`
	SchemaVersion int32     `json:"schemaVersion,omitempty"`
	At            time.Time `json:"at"`
	// Tool is the version of the program.
	Tool string `json:"tool"`
	// ServerCertificate and BrokerCA are SHA-256 fingerprints of the certificate that the broker showed and of the CA that it was
	// checked against.
	ServerCertificate string `json:"serverCertificate,omitempty"`
	BrokerCA          string `json:"brokerCA,omitempty"`
	// Offline says that no connection was made.
	Offline bool `json:"offline,omitempty"`
	// Samples counts the payloads that were checked; Sent what the tool itself published to the device's own topics.
	Samples int `json:"samples"`
	Sent    int `json:"sent"`

	Checks    []Check   `json:"checks"`
	Problems  []Problem `json:"problems,omitempty"`
	Omitted   int       `json:"problemsOmitted,omitempty"`
	Units     []Unit    `json:"units,omitempty"`
	Passed    int       `json:"passed"`
	Failed    int       `json:"failed"`
	NotProven int       `json:"notProven"`
}

// Summary is the report's last line.
func (r *Report) Summary() Text {
	n := []any{len(r.Checks), r.Passed, r.Failed, r.NotProven}
	verdict := say("Nothing failed.", "没有未通过的检查。")
	if r.Failed > 0 {
		verdict = say("Do not accept before what failed is mended.", "未通过的项目整改之前，不宜验收。")
	}
	return say("%d checks: %d passed, %d failed, %d not proven.", "共 %d 项：通过 %d，未通过 %d，未能证明 %d。", n...).and(verdict)
}

// word gives a result in words.
func (r Result) word() Text {
	switch r {
	case Passed:
		return say("passed", "通过")
	case Failed:
		return say("FAILED", "未通过")
	}
	return say("not proven", "未能证明")
}

// Word gives a result in words of a language.
func (r Result) Word(l Language) string { return r.word().In(l) }
