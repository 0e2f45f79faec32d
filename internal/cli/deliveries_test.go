package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const deadLetter = "0197a1b2-0000-7000-8000-0000000000d1"

// deliveriesAnswer is the service's: two pages of one message each, and dead letters of which 3, then 2 are replayed.
func deliveriesAnswer(replays *int) func(asked) (int, any) {
	return func(q asked) (int, any) {
		message := map[string]any{"id": deadLetter, "organization": "fire", "type": "io.dizuo.case.dispatched.v1", "method": "Webhook", "createdAt": at, "attempts": 31, "deadAt": at.Add(24 * time.Hour), "lastError": "endpoint answered 503, want 2xx"}
		switch {
		case q.path == "/v1/deliveries/replay":
			*replays++
			return 200, map[string]any{"replayed": []int{3, 2}[*replays-1], "left": []int{2, 0}[*replays-1]}
		case strings.HasSuffix(q.path, "/replay"):
			if q.path != "/v1/deliveries/"+deadLetter+"/replay" {
				return 409, map[string]any{"title": "Conflict", "status": 409, "detail": "the message is no dead letter"}
			}
			delete(message, "deadAt")
			return 200, message
		case q.query.Get("cursor") == "":
			return 200, map[string]any{"deliveries": []any{message}, "next": deadLetter}
		}
		return 200, map[string]any{"deliveries": []any{map[string]any{"id": "0197a1b2-0000-7000-8000-0000000000d0", "organization": "fire", "method": "MQTT", "createdAt": at, "attempts": 1, "deliveredAt": at}}}
	}
}

func TestDeliveries(t *testing.T) {
	replays := 0
	args, all := stub(t, deliveriesAnswer(&replays))
	deliveries := func(more ...string) ran {
		return run(t, "", append(append([]string{"deliveries"}, more...), args...)...)
	}
	for name, c := range map[string]struct {
		args  []string
		want  []string
		asked []string
	}{
		"list":            {[]string{"list", "--lang", "en"}, []string{"STATE", deadLetter, "dead", "delivered", "31", "endpoint answered 503"}, []string{"GET /v1/deliveries limit=50", "GET /v1/deliveries cursor=" + deadLetter + "&limit=49"}},
		"list in Chinese": {[]string{"list", "--lang", "zh"}, []string{"最近错误", "死信", "已送达"}, nil},
		"list some":       {[]string{"list", "--state", "dead", "--of", "fire", "--limit", "1"}, []string{deadLetter}, []string{"GET /v1/deliveries limit=1&organization=fire&state=dead"}},
		"list as JSON":    {[]string{"list", "-o", "json"}, []string{`"lastError": "endpoint answered 503, want 2xx"`, `"method": "MQTT"`}, nil},
		"replay one":      {[]string{"replay", deadLetter, "--lang", "en"}, []string{"message " + deadLetter + " is tried again"}, []string{"POST /v1/deliveries/" + deadLetter + "/replay "}},
		"replay all":      {[]string{"replay", "--all", "--of", "fire", "--lang", "zh"}, []string{"5 条重新投递；仍有 0 条死信"}, []string{"POST /v1/deliveries/replay organization=fire", "POST /v1/deliveries/replay organization=fire"}},
		"replay as YAML":  {[]string{"replay", "--all", "-o", "yaml"}, []string{"replayed: 5", "left: 0"}, []string{"POST /v1/deliveries/replay ", "POST /v1/deliveries/replay "}},
	} {
		*all, replays = nil, 0
		r := deliveries(c.args...)
		if r.code != ExitOK {
			t.Errorf("%s: exit code %d: %s", name, r.code, r.err)
		}
		for _, want := range c.want {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, r.out)
			}
		}
		var got []string
		for _, q := range *all {
			got = append(got, fmt.Sprintf("%s %s %s", q.method, q.path, q.query.Encode()))
		}
		if c.asked != nil && strings.Join(got, "\n") != strings.Join(c.asked, "\n") {
			t.Errorf("%s: asked %q, want %q", name, got, c.asked)
		}
	}
	*all = nil
	for _, wrong := range [][]string{{"replay"}, {"replay", deadLetter, "--all"}, {"replay", "one"}, {"replay", deadLetter, "--of", "fire"}, {"replay", deadLetter, deadLetter}, {"list", "x"}, {"list", "-o", "xml"}} {
		if r := deliveries(wrong...); r.code != ExitUsage || len(*all) > 0 {
			t.Errorf("%v: exit code %d, asked %v: %s", wrong, r.code, *all, r.err)
		}
	}
	if r := deliveries("replay", "0197a1b2-0000-7000-8000-0000000000d0"); r.code != ExitFailed || !strings.Contains(r.err, "is no dead letter") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	denying, _ := stub(t, func(asked) (int, any) { return 403, map[string]any{"title": "Forbidden", "status": 403} })
	for _, c := range [][]string{{"list"}, {"replay", "--all"}, {"replay", deadLetter}} {
		if r := run(t, "", append(append([]string{"deliveries"}, c...), denying...)...); r.code != ExitDenied {
			t.Errorf("%v: exit code %d: %s", c, r.code, r.err)
		}
	}
}

func TestDeadLettersAreCompleted(t *testing.T) {
	args, all := stub(t, deliveriesAnswer(new(int)))
	r := run(t, "", append(append([]string{"__complete", "deliveries", "replay"}, args...), "")...)
	if !strings.Contains(r.out, deadLetter+"\tfire io.dizuo.case.dispatched.v1") || (*all)[0].query.Get("state") != "dead" {
		t.Errorf("completion:\n%s%s", r.out, r.err)
	}
	if r = run(t, "", "__complete", "deliveries", "list", "--state", ""); !strings.Contains(r.out, "pending\ndelivered\ndead") {
		t.Errorf("completion of --state:\n%s", r.out)
	}
}
