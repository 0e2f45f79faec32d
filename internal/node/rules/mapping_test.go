package rules

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
)

// carrierProfile is what the payloads of the tests below become.
var carrierProfile = contract.Profile{Fields: map[string]contract.Field{
	"smoke": {Type: "Boolean", Required: true}, "density": {Type: "Number", Min: ptr(0), Max: ptr(100)}, "battery": {Type: "Integer"},
	"state": {Type: "Enum", Enum: []string{"on", "off"}}, "text": {Type: "String"}, "since": {Type: "Time"},
}}

func mapping(t testing.TB, m contract.Mapping) *Mapping {
	t.Helper()
	if m.Fields["smoke"] == "" {
		if m.Fields == nil {
			m.Fields = map[string]string{}
		}
		m.Fields["smoke"] = "true"
	}
	out, problems := NewMapping(m, carrierProfile)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return out
}

func TestMappingTurnsAForeignPayloadIntoFields(t *testing.T) {
	m := mapping(t, contract.Mapping{Device: `"d-" + payload.imei`, Time: "payload.timestamp", Fields: map[string]string{
		"smoke":   "payload.data.alarmState == 1",
		"density": "payload.data.density / 10.0",
		"battery": "base64.decode(payload.frame).at(1) * 256 + base64.decode(payload.frame).at(2)",
		"state":   "json.decode(payload.inner).on ? 'on' : 'off'",
		"text":    "payload.sn",
		"since":   "timestamp('2026-03-01T08:00:00+08:00')",
		"id":      "string(int(payload.seq))",
	}})
	raw := fmt.Sprintf(`{"imei":"861234567890123","timestamp":1772323200123,"seq":77,"sn":89860012345678901234,"inner":"{\"on\":true}","frame":%q,"data":{"alarmState":1,"density":125}}`,
		base64.StdEncoding.EncodeToString([]byte{0, 1, 2}))
	got, err := m.Apply("dizuo/v1/p/smoke/up", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := Mapped{Device: "d-861234567890123", Payload: Payload{Time: time.UnixMilli(1772323200123).UTC(), ID: "77", Fields: map[string]any{
		"smoke": true, "density": 12.5, "battery": int64(258), "state": "on", "since": time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		"text": "89860012345678901234", // no digit of an id is lost
	}}}
	got.Fields["since"] = got.Fields["since"].(time.Time).UTC()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAMappingCannotMakeIsLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		field, expression string
		want              string // the field's value, or its problem
	}{
		"in range":                 {"density", "payload.n", "50"},
		"out of range":             {"density", "payload.n * 3.0", "density: OutOfRange"},
		"not a number":             {"density", "0.0 / 0.0 + payload.n", "density: OutOfRange"},
		"wrong type":               {"density", "payload.s", "density: WrongType"},
		"not there":                {"density", "payload.nothing", "density: Missing"},
		"fails":                    {"density", "double(payload.s)", "density: Failed"},
		"says nothing":             {"density", "has(payload.nothing) ? payload.nothing : null", ""},
		"required, says nothing":   {"smoke", "has(payload.nothing) ? payload.nothing : null", "smoke: Missing"},
		"not in the list":          {"state", "payload.s", "state: OutOfRange"},
		"too long":                 {"text", "payload.long", "text: OutOfRange"},
		"whole number of a double": {"battery", "payload.n", "50"},
		"no whole number":          {"battery", "payload.n + 0.5", "battery: WrongType"},
		"a map":                    {"text", "payload", "text: WrongType"},
		"a time where text goes":   {"text", "dyn(timestamp('2026-03-01T00:00:00Z'))", "text: WrongType"},
		"costs too much":           {"density", "payload.list.map(a, payload.list.map(b, a * b).size()).size()", "density: Failed"},
		"topic":                    {"text", "topic.split('/')[2]", "d"},
		"no byte":                  {"battery", "base64.decode('AA==').at(1)", "battery: Failed"},
		"a negative byte":          {"battery", "base64.decode('AA==').at(-1)", "battery: Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			m := mapping(t, contract.Mapping{Fields: map[string]string{c.field: c.expression}})
			raw := `{"n":50,"s":"maybe","long":"` + strings.Repeat("x", 300) + `","list":[` + strings.Repeat("1,", 299) + `1]}`
			got, err := m.Apply("dizuo/v1/d/smoke/s1/telemetry", []byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			if v, ok := got.Fields[c.field]; ok {
				said = fmt.Sprint(v)
			}
			for _, p := range got.Problems {
				said += p.String()
			}
			if said != c.want {
				t.Errorf("%s gives %q, want %q", c.expression, said, c.want)
			}
			if c.field != "smoke" && got.Fields["smoke"] != true {
				t.Error("another field suffers")
			}
		})
	}
}

func TestTimeOfAMapping(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for expression, want := range map[string]time.Time{
		"payload.ms": at, "payload.s": at, "payload.text": at, "timestamp(payload.text)": at, "int(payload.s)": at, "uint(payload.ms)": at,
		"payload.s + 0.5": at.Add(500 * time.Millisecond), "0": time.Unix(0, 0).UTC(),
		"payload.bad": {}, "payload.none": {}, "payload.far": {}, "0.0/0.0": {}, "true ? dyn(true) : dyn(false)": {},
	} {
		m := mapping(t, contract.Mapping{Time: expression})
		got, err := m.Apply("", []byte(`{"ms":1772323200000,"s":1772323200,"text":"2026-03-01T08:00:00+08:00","bad":"yesterday","far":1e300}`))
		if err != nil || !got.Time.Equal(want) {
			t.Errorf("%s gives %v, %v; want %v", expression, got.Time, err, want)
		}
		if problem := slices.ContainsFunc(got.Problems, func(p FieldProblem) bool { return p.Field == FieldTime }); problem != want.IsZero() {
			t.Errorf("%s has problems %v", expression, got.Problems)
		}
	}
}

// What is no JSON object or array comes as base64, whatever it looks like: a type that depends on what a device happens to send would
// fail some day.
func TestPayloadThatIsNoJSON(t *testing.T) {
	m := mapping(t, contract.Mapping{Fields: map[string]string{"text": "string(base64.decode(payload))"}})
	for _, raw := range []string{"25.3", "true", "", "ok", `"text"`, "null", "{", `{"a":1}x`, "[1", "\x7b{"} {
		got, err := m.Apply("", []byte(raw))
		if err != nil || got.Fields["text"] != raw {
			t.Errorf("%q comes as %v, %v %v", raw, got.Fields["text"], err, got.Problems)
		}
	}
	m = mapping(t, contract.Mapping{Fields: map[string]string{"density": "payload[1]"}})
	if got, err := m.Apply("", []byte(" [1, 2]")); err != nil || got.Fields["density"] != 2.0 {
		t.Errorf("an array gives %v, %v", got, err)
	}
}

func TestDeviceOfAMapping(t *testing.T) {
	m := mapping(t, contract.Mapping{Device: "payload.dev"})
	for raw, want := range map[string]string{
		`{"dev":"D_1"}`: "D_1", `{"dev":"a.b"}`: "", `{"dev":"*"}`: "", `{"dev":""}`: "", `{"dev":7}`: "", `{}`: "", `{"dev":"_platform"}`: "_platform", "x": "",
	} {
		got, err := m.Apply("", []byte(raw))
		if got.Device != want || (err != nil) != (want == "") {
			t.Errorf("%s names %q, %v; want %q", raw, got.Device, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "a.b") {
			t.Error("the error repeats what was sent")
		}
	}
}

func TestMappingsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		m    contract.Mapping
		want string
	}{
		"syntax":            {contract.Mapping{Fields: map[string]string{"smoke": "payload."}}, "mapping: fields.smoke: no valid CEL"},
		"type":              {contract.Mapping{Fields: map[string]string{"smoke": "1"}}, "mapping: fields.smoke: gives int; write an expression that gives bool"},
		"unknown name":      {contract.Mapping{Fields: map[string]string{"smoke": "msg.x"}}, "mapping: fields.smoke: no valid CEL"},
		"unknown field":     {contract.Mapping{Fields: map[string]string{"smoke": "true", "smok": "1"}}, "mapping: fields.smok: is not in the profile; its fields are battery, density, since, smoke, state, text"},
		"missing field":     {contract.Mapping{Fields: map[string]string{"text": "topic"}}, "mapping: fields: the profile requires smoke"},
		"device":            {contract.Mapping{Device: "1", Fields: map[string]string{"smoke": "true"}}, "mapping: device: gives int"},
		"time":              {contract.Mapping{Time: "true", Fields: map[string]string{"smoke": "true"}}, "mapping: time: gives bool; write an expression that gives timestamp or string"},
		"grows":             {contract.Mapping{Fields: map[string]string{"smoke": "payload.a.replace('', payload.a) == ''"}}, "mapping: fields.smoke: calls replace"},
		"grows by a little": {contract.Mapping{Fields: map[string]string{"smoke": "payload.a.replace('a', 'bb') == ''"}}, "mapping: fields.smoke: calls replace"},
		"joins":             {contract.Mapping{Fields: map[string]string{"smoke": "payload.l.map(x, payload.a).join() == ''"}}, "mapping: fields.smoke: calls join"},
		"formats":           {contract.Mapping{Fields: map[string]string{"smoke": "'%s%s'.format([payload, payload]) == ''"}}, "mapping: fields.smoke: calls format"},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := NewMapping(c.m, carrierProfile)
			if (got == nil) != (name == "device") || len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), c.want) {
				t.Errorf("problems %v, want %q", problems, c.want)
			}
		})
	}
	if _, problems := NewMapping(contract.Mapping{Fields: map[string]string{"smoke": "payload.a.replace('-', '') == '1'"}}, carrierProfile); problems != nil {
		t.Error(problems)
	}
}

// A profile may change under its fleets: what still fits goes on.
func TestMappingGoesOnWithWhatFits(t *testing.T) {
	m, problems := NewMapping(contract.Mapping{Time: "true", Fields: map[string]string{"text": "payload.t", "gone": "1", "density": "'x'"}}, carrierProfile)
	if len(problems) != 4 {
		t.Fatal(problems)
	}
	got, err := m.Apply("", []byte(`{"t":"x"}`))
	want := Mapped{Payload: Payload{Fields: map[string]any{"text": "x"}, Problems: []FieldProblem{{"smoke", "Missing"}}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// FuzzMapping: whatever is sent, what comes out fits the profile and names a device that a subject can hold.
func FuzzMapping(f *testing.F) {
	for _, seed := range []string{
		`{"imei":"861234567890123","ts":1772323200123,"v":1,"b":"AQI="}`, `{"imei":1e400}`, `[{"imei":"x"}]`, `{"imei":"a.b","v":null}`,
		"\x00\x01", "", `{"ts":-1e308,"imei":"x"}`, `{"imei":"x","b":"!"}`, `{"imei":"x","v":9007199254740993}`,
	} {
		f.Add("dizuo/v1/p/smoke/up", []byte(seed))
	}
	m := mapping(f, contract.Mapping{Device: "payload.imei", Time: "payload.ts", Fields: map[string]string{
		"smoke": "payload.v == 1", "density": "payload.v", "battery": "base64.decode(payload.b).at(0)", "state": "payload.v", "text": "payload.imei + topic",
		"since": "payload.b", "id": "payload.imei",
	}})
	f.Fuzz(func(t *testing.T, topic string, raw []byte) {
		got, err := m.Apply(topic, raw)
		if err != nil {
			return
		}
		if !contract.ValidDevice(got.Device) {
			t.Fatalf("device %q", got.Device)
		}
		for name, v := range got.Fields {
			ok := false
			switch carrierProfile.Fields[name].Type {
			case "Boolean":
				_, ok = v.(bool)
			case "Number":
				x, is := v.(float64)
				ok = is && x >= 0 && x <= 100
			case "Integer":
				_, ok = v.(int64)
			case "String":
				x, is := v.(string)
				ok = is && len(x) <= maxText
			case "Enum":
				ok = v == "on" || v == "off"
			case "Time":
				_, ok = v.(time.Time)
			}
			if !ok {
				t.Fatalf("%s is %T %v", name, v, v)
			}
		}
		if y := got.Time.Year(); y < 0 || y > 9999 || len(got.ID) > maxText {
			t.Fatalf("time %v, id %q", got.Time, got.ID)
		}
	})
}
