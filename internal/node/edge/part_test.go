package edge

import (
	"bytes"
	"crypto/rand"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// answerOf is what a hub answers: the part of an object between two places, which are offsets here.
func answerOf(object []byte, from, to int) *nats.Msg {
	m := nats.NewMsg("")
	m.Data = object[from:to]
	m.Header.Set(contract.EdgeNextHeader, strconv.Itoa(to))
	m.Header.Set(contract.EdgeSizeHeader, strconv.Itoa(len(object)))
	m.Header.Set(contract.EdgeDigestHeader, contract.Digest(object))
	return m
}

// TestAPartIsHeldAgainstTheWhole: an object that came wrong in whatever way is not given on.
func TestAPartIsHeldAgainstTheWhole(t *testing.T) {
	object := []byte("0123456789")
	other := []byte("0123X56789")
	headed := func(m *nats.Msg, name, value string) *nats.Msg { m.Header.Set(name, value); return m }
	for name, c := range map[string]struct {
		answers []*nats.Msg
		bad     bool
	}{
		"in parts":             {[]*nats.Msg{answerOf(object, 0, 4), answerOf(object, 4, 10)}, false},
		"at once":              {[]*nats.Msg{answerOf(object, 0, 10)}, false},
		"from an older hub":    {[]*nats.Msg{{Data: object}}, false},
		"a wrong part":         {[]*nats.Msg{answerOf(object, 0, 4), headed(answerOf(other, 4, 10), contract.EdgeDigestHeader, contract.Digest(object))}, true},
		"a part twice":         {[]*nats.Msg{answerOf(object, 0, 4), answerOf(object, 0, 4)}, true},
		"a part too much":      {[]*nats.Msg{answerOf(object, 0, 6), answerOf(object, 4, 10)}, true},
		"an end before it":     {[]*nats.Msg{answerOf(object, 0, 4), answerOf(object, 4, 4)}, true},
		"another object":       {[]*nats.Msg{answerOf(object, 0, 4), answerOf(other, 4, 10)}, true},
		"more than is taken":   {[]*nats.Msg{headed(answerOf(object, 0, 4), contract.EdgeSizeHeader, strconv.Itoa(contract.MaxEdgeObject+1))}, true},
		"a size that is none":  {[]*nats.Msg{headed(answerOf(object, 0, 4), contract.EdgeSizeHeader, "-1")}, true},
		"a place that is none": {[]*nats.Msg{headed(answerOf(object, 0, 4), contract.EdgeNextHeader, "x")}, true},
		"no digest":            {[]*nats.Msg{headed(answerOf(object, 0, 10), contract.EdgeDigestHeader, "")}, true},
	} {
		p := (&part{}).of("x")
		var whole bool
		var err error
		for _, m := range c.answers {
			if whole, err = p.add(m); err != nil {
				break
			}
		}
		if (err != nil) != c.bad || !c.bad && (!whole || !bytes.Equal(p.data, object)) {
			t.Errorf("%s: whole %t, %q, %v", name, whole, p.data, err)
		}
	}
}

// TestAnObjectComesInParts over a line that is cut in the middle, and once with a part that is wrong.
func TestAnObjectComesInParts(t *testing.T) {
	h := newHub(t)
	object := make([]byte, 5<<20/2)
	if _, err := rand.Read(object); err != nil {
		t.Fatal(err)
	}
	var asked []int
	cut, wrong := true, true
	h.serveRaw("far", contract.EdgeGet, func(m *nats.Msg) *nats.Msg {
		from, err := strconv.Atoi(m.Header.Get(contract.EdgeNextHeader))
		if err != nil || string(m.Data) != "shard/x" {
			t.Errorf("%q, %v", m.Data, err)
		}
		asked = append(asked, from)
		answer := answerOf(object, from, min(from+contract.MaxEdgePart, len(object)))
		switch at := 3 * contract.MaxEdgePart; {
		case from == at && cut:
			cut = false
			answer = nats.NewMsg("")
			answer.Header.Set(contract.EdgeErrorHeader, "Unavailable")
		case from == 2*at && wrong:
			wrong = false
			answer.Data = append([]byte{answer.Data[0] ^ 1}, answer.Data[1:]...)
		}
		return answer
	})
	f := feed{"far", h.nc, nil, &part{}}
	if got, err := f.GetBytes(t.Context(), "shard/x"); err == nil {
		t.Fatalf("%d bytes over a line that was cut", len(got))
	}
	if got, err := f.GetBytes(t.Context(), "shard/x"); err == nil {
		t.Fatalf("%d bytes with a part that was wrong", len(got))
	}
	if len(asked) != 4+7 || asked[4] != 3*contract.MaxEdgePart {
		t.Errorf("after the cut it did not go on where it was: %v", asked)
	}
	got, err := f.GetBytes(t.Context(), "shard/x")
	if err != nil || !bytes.Equal(got, object) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if asked[11] != 0 || len(asked) != 11+10 {
		t.Errorf("what came wrong was not fetched anew: %v", asked)
	}
}
