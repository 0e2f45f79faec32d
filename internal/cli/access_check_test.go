package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAccessCheck asks about the sample county, from its YAML alone.
func TestAccessCheck(t *testing.T) {
	ask := func(args ...string) ran {
		return run(t, "", append([]string{"access", "check", "-f", "../../config/samples/county", "--dataset", "addresses"}, args...)...)
	}
	r := ask("--as", "helan-fire", "--purpose", "FireResponse")
	if r.code != ExitOK || !strings.Contains(r.out, "ALLOWED") || !strings.Contains(r.out, "agreement: fire-addresses") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	r = ask("--as", "helan-fire", "--purpose", "Audit", "--lang", "zh")
	if r.code != ExitDenied || !strings.Contains(r.out, "拒绝") || !strings.Contains(r.out, "PurposeNotAllowed") {
		t.Errorf("another purpose: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	r = ask("--as", "helan-fire", "--purpose", "FireResponse", "--at", "2020-01-01T00:00:00+08:00", "-o", "json")
	var out struct{ Input struct{ Now int64 } }
	if err := json.Unmarshal([]byte(r.out), &out); err != nil || out.Input.Now != 1577808000 {
		t.Errorf("--at: exit code %d, %v:\n%s%s", r.code, err, r.out, r.err)
	}
	for _, wrong := range [][]string{{"--as", "nobody", "--purpose", "Audit"}, {"--as", "helan-fire", "--purpose", "Audit", "--at", "yesterday"}, {"--as", "helan-fire", "--purpose", "Audit", "--lang", "fr"}} {
		if r := ask(wrong...); r.code != ExitUsage {
			t.Errorf("%q: exit code %d: %s", wrong, r.code, r.err)
		}
	}
}

// askSharing asks about the twelve sample agreements.
func askSharing(t *testing.T, args ...string) ran {
	t.Helper()
	return run(t, "", append([]string{"access", "check", "-f", "../../config/samples/sharing", "--at", "2027-01-04T10:00:00+08:00"}, args...)...)
}

// TestAccessCheckOfACase: what the gateway would find of a case is said by flags, and a number of the platform's form is never a foreign one.
func TestAccessCheckOfACase(t *testing.T) {
	phones := []string{"--as", "fire", "--dataset", "household-contacts", "--purpose", "FireResponse", "--role", "FireOfficer"}
	video := []string{"--as", "police", "--dataset", "video-elements", "--purpose", "PublicSafety", "--role", "PoliceOfficer"}
	const own, foreign = "20270104-000001", "A4101-2027-17"
	for name, c := range map[string]struct {
		ask  []string
		args []string
		code int
		says string
	}{
		"covered":                       {phones, []string{"--case", own, "--case-class", "fire-alarm", "--case-severity", "Critical", "--community", "pingan"}, ExitOK, "ALLOWED"},
		"covered, place by itself":      {phones, []string{"--case", own, "--case-class", "gas-leak", "--case-severity", "Critical", "--case-community", "kangle", "--community", "pingan"}, ExitOK, "ALLOWED"},
		"not grave enough":              {phones, []string{"--case", own, "--case-class", "fire-alarm", "--case-severity", "High", "--case-community", "pingan"}, ExitDenied, "CaseNotCovered"},
		"another class":                 {phones, []string{"--case", own, "--case-class", "parking", "--case-severity", "Critical", "--case-community", "pingan"}, ExitDenied, "CaseNotCovered"},
		"own form, nothing said":        {video, []string{"--case", own}, ExitDenied, "CaseUnknown"},
		"own form, said":                {video, []string{"--case", own, "--case-class", "fight", "--case-severity", "Low", "--case-community", "pingan"}, ExitOK, "agreement: a01-video"},
		"foreign":                       {video, []string{"--case", foreign}, ExitOK, "agreement: a01-video"},
		"foreign where it must be ours": {phones, []string{"--case", foreign}, ExitDenied, "CaseUnknown"},
		"spaces around":                 {video, []string{"--case", " " + own + " "}, ExitDenied, "CaseUnknown"},
		"no such severity":              {phones, []string{"--case", own, "--case-class", "fire-alarm", "--case-severity", "Huge", "--community", "pingan"}, ExitUsage, ""},
		"class without case":            {phones, []string{"--case-class", "fire-alarm"}, ExitUsage, ""},
		"place without case":            {phones, []string{"--case-community", "pingan"}, ExitUsage, ""},
		"severity without class":        {phones, []string{"--case", own, "--case-severity", "Critical"}, ExitUsage, ""},
		"class without severity":        {phones, []string{"--case", own, "--case-class", "fire-alarm", "--community", "pingan"}, ExitUsage, ""},
		"class without place":           {phones, []string{"--case", own, "--case-class", "fire-alarm", "--case-severity", "Critical"}, ExitUsage, ""},
		"no such place":                 {phones, []string{"--case", own, "--case-class", "fire-alarm", "--case-severity", "Critical", "--case-community", "ghost"}, ExitUsage, ""},
		"class of a foreign case":       {phones, []string{"--case", foreign, "--case-class", "fire-alarm", "--case-severity", "Critical", "--community", "pingan"}, ExitUsage, ""},
	} {
		if r := askSharing(t, append(c.ask[:len(c.ask):len(c.ask)], c.args...)...); r.code != c.code || !strings.Contains(r.out, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", name, r.code, c.code, c.says, r.out, r.err)
		}
	}
	if r := askSharing(t, append(video, "--case", own)...); !strings.Contains(r.err, "--case-class") || !strings.Contains(r.err, "looked up") {
		t.Errorf("a number of the platform: not said what to write: %s", r.err)
	}
	if r := askSharing(t, append(phones, "--case", foreign)...); !strings.Contains(r.err, "--case-class") {
		t.Errorf("a foreign number: not said what to write: %s", r.err)
	}
}

// TestAccessCheckOfCounts asks as the aggregate request of the gateway does.
func TestAccessCheckOfCounts(t *testing.T) {
	service := []string{"--as", "town", "--dataset", "property-service", "--purpose", "CommunityGovernance"}
	form := []string{"--as", "statistics", "--dataset", "one-form", "--purpose", "UnifiedReporting"}
	for name, c := range map[string]struct {
		ask  []string
		args []string
		code int
		says string
	}{
		"records":             {service, nil, ExitDenied, "AggregatesOnly"},
		"one figure":          {service, []string{"--count"}, ExitOK, "agreement: a03-service"},
		"by and sum":          {service, []string{"--by", "compound,kind", "--sum", "amount"}, ExitOK, "groups of at least 10"},
		"where":               {service, []string{"--by", "kind", "--where", "compound:In:east,west"}, ExitOK, "ALLOWED"},
		"no dimension":        {service, []string{"--by", "month"}, ExitDenied, "DimensionNotGranted"},
		"no measure":          {service, []string{"--sum", "compound"}, ExitDenied, "MeasureNotGranted"},
		"where, no dimension": {service, []string{"--count", "--where", "month:In:2027-01"}, ExitDenied, "DimensionNotGranted"},
		"one form":            {form, []string{"--by", "indicator,month", "--sum", "value"}, ExitOK, "agreement: a11-one-form"},
		"where, ill written":  {service, []string{"--by", "kind", "--where", "compound=east"}, ExitUsage, ""},
		"where of records":    {service, []string{"--where", "compound:In:east"}, ExitUsage, ""},
		"counts and fields":   {service, []string{"--by", "kind", "--fields", "kind"}, ExitUsage, ""},
	} {
		if r := askSharing(t, append(c.ask[:len(c.ask):len(c.ask)], c.args...)...); r.code != c.code || !strings.Contains(r.out, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", name, r.code, c.code, c.says, r.out, r.err)
		}
	}
}

// The gateway's public key is wanted, and a private one is the file that lies beside it.
func TestNotPublicKeys(t *testing.T) {
	for text, want := range map[string]string{
		"": "holds no PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "holds a PRIVATE KEY", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n": "",
	} {
		if got := notPublicKeys([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
