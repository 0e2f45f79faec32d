package policies

import (
	"strings"
	"testing"
)

const cityRule = `package dizuo.city.night_rules

# METADATA
# title: Nothing is read at night
# custom:
#   rule: no-night
#   origin: city
#   citation: 示范市数据条例
#   article: 第九条
deny contains {"rule": "no-night", "field": "spec.hours", "message": "write hours"} if {
	not input.agreement.hours
}
`

func withHead(rule string) string { return "package dizuo.city.night_rules\n\n" + rule }

const metadata = "# METADATA\n# title: T\n# custom:\n#   rule: r\n#   origin: city\n"

const finding = `{"rule": "r", "field": "spec", "message": "m"}`

func TestCityRulesAddFindings(t *testing.T) {
	g, err := Guardrails(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	city, err := CompileCity("night-rules", map[string]string{"rules.rego": cityRule, "rules_test.rego": "package x\n\nimport data.dizuo.city.night_rules\n"})
	if err != nil {
		t.Fatal(err)
	}
	in := faceCheckByPropertyCompany()
	shipped, err := g.Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	both, err := g.With(city).Check(t.Context(), in)
	if err != nil || len(both) != len(shipped)+1 {
		t.Fatalf("%d findings (%v), want the %d shipped ones and one", len(both), err, len(shipped))
	}
	for _, v := range both {
		if v.Rule == "night-rules/no-night" {
			if v.Origin != OriginCity || v.Citation != "示范市数据条例 第九条" || v.Field != "spec.hours" {
				t.Errorf("%+v", v)
			}
			in.Agreement.Hours = &GuardHours{From: "08:00", To: "18:00"}
			if again, err := g.With(city).Check(t.Context(), in); err != nil || len(again) != len(shipped) {
				t.Errorf("with hours: %v, %v", again, err)
			}
			return
		}
	}
	t.Errorf("no finding of the city's own in %v", both)
}

// TestBadCityRulesAreRefused: each error names the file, most the line, and what is wrong.
func TestBadCityRulesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"syntax":                {map[string]string{"a.rego": withHead("deny contains {\n")}, "night-rules/a.rego:"},
		"http":                  {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if http.send({"method": "get", "url": "https://example.com"}).status_code == 200` + "\n")}, "undefined function http.send"},
		"clock":                 {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + " if time.now_ns() > 0\n")}, "undefined function time.now_ns"},
		"runtime":               {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + " if opa.runtime().env.HOME\n")}, "undefined function opa.runtime"},
		"net":                   {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if net.lookup_ip_addr("example.com")` + "\n")}, "undefined function net.lookup_ip_addr"},
		"addresses":             {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if count(net.cidr_expand("10.0.0.0/8")) > 0` + "\n")}, "undefined function net.cidr_expand"},
		"loops of a template":   {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if strings.render_template("{{range .l}}{{range $.l}}x{{end}}{{end}}", {"l": [1]}) != "x"` + "\n")}, "undefined function strings.render_template"},
		"paths of a graph":      {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if count(graph.reachable_paths({"a": ["a"]}, ["a"])) > 9` + "\n")}, "undefined function graph.reachable_paths"},
		"patterns in common":    {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if not regex.globs_match("a.*", "a")` + "\n")}, "undefined function regex.globs_match"},
		"cryptography":          {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if crypto.md5("a") == "b"` + "\n")}, "undefined function crypto.md5"},
		"package":               {map[string]string{"a.rego": strings.Replace(cityRule, "dizuo.city.night_rules", "dizuo.guardrails", 1)}, "write package dizuo.city.night_rules"},
		"below":                 {map[string]string{"a.rego": strings.Replace(cityRule, "dizuo.city.night_rules", "dizuo.city.night_rules.more", 1)}, "write package dizuo.city.night_rules"},
		"reference":             {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + ` if "x" in data.dizuo.guardrails.listed` + "\n")}, "night-rules/a.rego:8: reaches data beyond its own package"},
		"import":                {map[string]string{"a.rego": withHead("import data.dizuo.guardrails\n\n" + metadata + "deny contains " + finding + " if guardrails.listed\n")}, "reaches data beyond its own package"},
		"all of data":           {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + " if count(data) > 0\n")}, "reaches data beyond its own package"},
		"override":              {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + " if input.x with data.dizuo.guardrails.deny as set()\n")}, "reaches data beyond its own package"},
		"no metadata":           {map[string]string{"a.rego": withHead("deny contains " + finding + " if input.agreement\n")}, "night-rules/a.rego:3: rule deny has no METADATA"},
		"law":                   {map[string]string{"a.rego": strings.Replace(cityRule, "origin: city", "origin: law", 1)}, "write custom.origin: city"},
		"no title":              {map[string]string{"a.rego": strings.Replace(cityRule, "# title: Nothing is read at night\n", "", 1)}, "METADATA has no title"},
		"no rule name":          {map[string]string{"a.rego": strings.Replace(cityRule, "#   rule: no-night\n", "", 1)}, "METADATA has no custom.rule"},
		"other name":            {map[string]string{"a.rego": strings.Replace(cityRule, `{"rule": "no-night"`, `{"rule": "nobody"`, 1)}, `a finding says rule "nobody"`},
		"no message":            {map[string]string{"a.rego": strings.Replace(cityRule, `"message": "write hours"`, `"message": ""`, 1)}, `message ""`},
		"shape":                 {map[string]string{"a.rego": strings.Replace(cityRule, `"message": "write hours"`, `"text": "write hours"`, 1)}, "a finding has rule"},
		"text":                  {map[string]string{"a.rego": withHead(metadata + `deny contains "no" if input.agreement` + "\n")}, "a finding has rule"},
		"other name of the set": {map[string]string{"a.rego": withHead(metadata + "allow contains " + finding + " if input.agreement\n")}, "has no rule"},
		"nothing":               {map[string]string{}, "has no rule"},
		"empty":                 {map[string]string{"a.rego": " "}, "night-rules/a.rego"},
		"no Rego":               {map[string]string{"a.reg": cityRule}, "night-rules/a.reg: is no Rego"},
		"size":                  {map[string]string{"a.rego": cityRule, "b.rego": "# " + strings.Repeat("x", MaxCityBytes)}, "larger than 48 KiB"},
		"slow":                  {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + " if {\n\tdigits := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n\tcount({[a, b, c, d, e, f, g, h] | some a in digits; some b in digits; some c in digits; some d in digits; some e in digits; some f in digits; some g in digits; some h in digits; a + b + c + d + e + f + g + h < 0}) > 0\n}\n")}, "no answer within 200ms"},
		"builtin error":         {map[string]string{"a.rego": withHead(metadata + "deny contains " + finding + " if to_number(input.agreement.name) > 0\n")}, "to_number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CompileCity("night-rules", c.files)
			if err == nil {
				t.Fatal("is taken")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}
