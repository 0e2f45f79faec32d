// Package oracle says what a device may do on the broker, and makes up attempts to do more. It is written from the prose of
// docs/kinds/devicefleet.md and of the design alone, with types of its own: it imports nothing of this project, so that a mistake
// of the implementation is not made here a second time. It knows whole topics and compares strings; it is slow and plain on purpose.
package oracle

import (
	"math/rand/v2"
	"strings"
)

// Row is a device in the inventory of a fleet.
type Row struct {
	Fleet, Device string
	// ClientID is the MQTT client id that the row binds; empty for the one by the device's name.
	ClientID string
	// Via is the gateway, as <fleet>.<device>, that speaks for the device in access mode Gateway; the device has no connection then.
	Via string
	// Cloud says that this is no device but the cloud of a fleet of access mode Platform; Silent that it is a device of such a fleet, which
	// has no connection and no topics.
	Cloud, Silent bool
}

// clientID gives the one client id that the device may connect with.
func (r Row) clientID() string {
	if r.ClientID != "" {
		return r.ClientID
	}
	return r.Fleet + "_" + r.Device
}

// Identity is what a connection has proved to be, and the MQTT client id that it came with.
type Identity struct{ Fleet, Device, ClientID string }

// Verb is what a connection does to a topic.
type Verb string

// The verbs.
const (
	Publish   Verb = "publish"
	Subscribe Verb = "subscribe"
)

// Action is a verb at a quality of service: 0, 1 or 2.
type Action struct {
	Verb Verb
	QoS  int
}

// Up and Down are the last levels of a device's topics: what it sends and what it hears.
var (
	Up   = []string{"telemetry", "signal", "state", "ack"}
	Down = []string{"cmd", "desired"}
)

// CloudUp and CloudDown are the last levels of a cloud's topics.
const (
	CloudUp   = "up"
	CloudDown = "down"
)

// Allowed reports whether a connection may do what it tries: publish at QoS 0 or 1 to its own topics up, subscribe at QoS 0 to its
// own topics down, if it is of a device with a row and has the device's own client id; and likewise to those of the rows that name the
// device as their gateway. A cloud has one topic up and one down. Nothing else is allowed. The topic is as it stands in the packet.
func Allowed(rows []Row, identity Identity, topic string, action Action) bool {
	publish := action.Verb == Publish && (action.QoS == 0 || action.QoS == 1)
	subscribe := action.Verb == Subscribe && action.QoS == 0
	self, ok := known(rows, identity)
	if !ok || !publish && !subscribe {
		return false
	}
	if self.Cloud {
		own := "dizuo/v1/p/" + self.Fleet + "/"
		return publish && topic == own+CloudUp || subscribe && topic == own+CloudDown
	}
	for _, r := range rows {
		spoken := r.Via == identity.Fleet+"."+identity.Device
		if !spoken && r != self {
			continue
		}
		own := "dizuo/v1/d/" + r.Fleet + "/" + r.Device + "/"
		if publish && oneOf(own, Up, topic) || subscribe && oneOf(own, Down, topic) {
			return true
		}
	}
	return false
}

func known(rows []Row, identity Identity) (Row, bool) {
	for _, r := range rows {
		if r.Fleet == identity.Fleet && r.Device == identity.Device {
			return r, r.Via == "" && !r.Silent && r.clientID() == identity.ClientID
		}
	}
	return Row{}, false
}

func oneOf(own string, channels []string, topic string) bool {
	for _, c := range channels {
		if topic == own+c {
			return true
		}
	}
	return false
}

// Right is the kind of a triple as the prose wants it; every other kind has one thing wrong.
const Right = "right"

// OtherDirection is the kind of a publish to what a device hears, and of a subscription to what it sends.
const OtherDirection = "the other direction"

// rightShare of the triples are right: a check that is only asked what is wrong could deny everything.
const rightShare = 0.36

// Triple is an attempt.
type Triple struct {
	Identity Identity
	Topic    string
	Action   Action
	// Kind is Right, or says what was made wrong.
	Kind string
}

// Generator makes triples. The same seed and rows give the same triples.
type Generator struct {
	r    *rand.Rand
	rows []Row
}

// NewGenerator makes a generator of triples about these rows, which must be of two fleets at least, each with valid names.
func NewGenerator(seed uint64, rows []Row) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, 0)), rows: rows}
}

// Next gives a triple: one that is right, or one with a single thing wrong.
func (g *Generator) Next() Triple {
	t := g.right()
	if g.r.Float64() < rightShare {
		return t
	}
	m := mutations[g.r.IntN(len(mutations))]
	t.Kind = m.kind
	m.apply(g, &t)
	return t
}

// Kinds lists the kinds of triples, Right first.
func Kinds() []string {
	kinds := []string{Right}
	for _, m := range mutations {
		kinds = append(kinds, m.kind)
	}
	return kinds
}

func (g *Generator) right() Triple {
	row := g.row()
	t := Triple{Identity: g.speaker(row), Action: Action{Subscribe, 0}, Kind: Right}
	up, down := Up, Down
	levels := []string{"dizuo", "v1", "d", row.Fleet, row.Device}
	switch {
	case row.Silent:
		return g.right()
	case row.Cloud:
		up, down, levels = []string{CloudUp}, []string{CloudDown}, []string{"dizuo", "v1", "p", row.Fleet}
	}
	channel := g.pick(down)
	if g.r.IntN(2) == 0 {
		t.Action, channel = Action{Publish, g.r.IntN(2)}, g.pick(up)
	}
	t.Topic = strings.Join(append(levels, channel), "/")
	return t
}

// speaker gives the identity that speaks for a row: that of its gateway, or its own.
func (g *Generator) speaker(row Row) Identity {
	for _, r := range g.rows {
		if row.Via == r.Fleet+"."+r.Device {
			row = r
			break
		}
	}
	return Identity{row.Fleet, row.Device, row.clientID()}
}

func (g *Generator) row() Row { return g.rows[g.r.IntN(len(g.rows))] }

// other gives a row that fits.
func (g *Generator) other(fits func(Row) bool) Row {
	for {
		if r := g.row(); fits(r) {
			return r
		}
	}
}

func (g *Generator) pick(from []string) string { return from[g.r.IntN(len(from))] }

// mutation makes one thing of a right triple wrong.
type mutation struct {
	kind  string
	apply func(*Generator, *Triple)
}

var mutations = []mutation{
	{"another device", func(g *Generator, t *Triple) {
		r := g.other(func(r Row) bool { return g.speaker(r) != t.Identity })
		t.change(func(l []string) []string { l[3], l[4] = r.Fleet, r.Device; return l })
	}},
	{"another fleet", func(g *Generator, t *Triple) {
		here := t.levels()[3]
		r := g.other(func(r Row) bool { return r.Fleet != here && r.Fleet != t.Identity.Fleet })
		t.change(func(l []string) []string { l[3] = r.Fleet; return l })
	}},
	{"a name that is near", func(g *Generator, t *Triple) { t.level(3+g.r.IntN(2), g.near) }},
	{"a level less", func(g *Generator, t *Triple) {
		t.change(func(l []string) []string { n := g.r.IntN(len(l)); return append(l[:n:n], l[n+1:]...) })
	}},
	{"a level more", func(g *Generator, t *Triple) { g.put(t, g.pick([]string{"x", "d", "signal", "cmd"})) }},
	{"an empty level", func(g *Generator, t *Triple) {
		// Not at an end: that is the next kind.
		t.change(func(l []string) []string {
			n := 1 + g.r.IntN(len(l)-1)
			return append(append(l[:n:n], ""), l[n:]...)
		})
	}},
	{"a slash at an end", func(g *Generator, t *Triple) {
		t.Topic = g.pick([]string{"/" + t.Topic, t.Topic + "/", "/" + t.Topic + "/", "//" + t.Topic, t.Topic + "//"})
	}},
	{"wildcard +", func(g *Generator, t *Triple) { g.single(t, "+") }},
	{"wildcard #", func(g *Generator, t *Triple) { g.multi(t, "#") }},
	{"NATS's wildcard *", func(g *Generator, t *Triple) { g.single(t, "*") }},
	{"NATS's wildcard >", func(g *Generator, t *Triple) { g.multi(t, ">") }},
	{"everything", func(g *Generator, t *Triple) {
		t.Topic = g.pick([]string{"", "/", "+", "#", "*", ">", "+/+/+/+/+/+", "+/#",
			"dizuo/#", "dizuo/v1/c/#", "$SYS/#", "$MQTT/#", "$MQTT/sub/#", "$KV/#", "_INBOX_grid/#"})
	}},
	{"another letter case", func(g *Generator, t *Triple) { t.Topic = g.swapCase(t.Topic) }},
	{"a prefix with $", func(g *Generator, t *Triple) {
		t.Topic = g.pick([]string{"$MQTT/sub/", "$MQTT/msgs/", "$MQTT/deliver/pubrel/", "$SYS/", "$JS/API/", "$KV/", "$share/g/", "$queue/",
			"$exclusive/", "$delayed/1/", "$"}) + t.Topic
	}},
	{"a dot", text(func(g *Generator, topic string) string {
		switch g.r.IntN(4) {
		case 0:
			return strings.ReplaceAll(topic, "/", ".")
		case 1:
			return strings.Replace(topic, "/", ".", 1+g.r.IntN(4))
		}
		return g.insert(topic, ".")
	})},
	{"a space", text(func(g *Generator, topic string) string {
		return g.insert(topic, g.pick([]string{" ", "\t", "\n", "\r", "\r\n", "\f", "\x7f", "\u00a0", "\u2028"}))
	})},
	{"U+0000", text(func(g *Generator, topic string) string { return g.insert(topic, "\x00") })},
	{"beyond ASCII", text(func(g *Generator, topic string) string {
		if g.r.IntN(2) == 0 {
			return strings.Replace(topic, "o", g.pick([]string{"ο", "о", "ｏ", "o\u0301"}), 1) // each only looks like an o
		}
		return g.insert(topic, g.pick([]string{"é", "网格", "\ufeff", "\u200b", "\u202e", "\xff", "\xc0\xaf", "😀"}))
	})},
	{"very long", func(g *Generator, t *Triple) {
		// A topic has 65,535 bytes at most.
		t.level(g.r.IntN(6), func(l string) string { return strings.Repeat(l, 2+g.r.IntN(60_000/len(l))) })
	}},
	{"another place", func(g *Generator, t *Triple) {
		n := g.r.IntN(3)
		t.level(n, func(string) string {
			return g.pick([][]string{{"dizuo2", "dizu", "DIZUO"}, {"v2", "v", "v11"}, {"c", "e", "internal"}}[n])
		})
	}},
	{"a channel that there is not", func(g *Generator, t *Triple) {
		t.level(5, func(string) string {
			return g.pick([]string{"signals", "cmds", "log", "ack2", "", "cm", "will", "telemetr"})
		})
	}},
	{OtherDirection, func(g *Generator, t *Triple) {
		t.level(5, func(last string) string {
			switch {
			case last == CloudUp:
				return CloudDown
			case last == CloudDown:
				return CloudUp
			case t.Action.Verb == Publish:
				return g.pick(Down)
			}
			return g.pick(Up)
		})
	}},
	{"a device that another speaks for", func(g *Generator, t *Triple) {
		for _, n := range g.r.Perm(len(g.rows)) { // its own identity has no connection
			if r := g.rows[n]; r.Via != "" || r.Silent {
				t.Identity = Identity{r.Fleet, r.Device, r.clientID()}
				t.change(func(l []string) []string { return []string{"dizuo", "v1", "d", r.Fleet, r.Device, l[len(l)-1]} })
				return
			}
		}
		t.Identity = Identity{}
	}},
	{"a cloud's topic", func(g *Generator, t *Triple) {
		r := g.other(func(r Row) bool { return g.speaker(r) != t.Identity })
		t.Topic = "dizuo/v1/p/" + r.Fleet + "/" + g.pick([]string{CloudUp, CloudDown, "#", "+", "signal"})
	}},
	{"a QoS that is not served", func(g *Generator, t *Triple) {
		t.Action.QoS = 2
		if t.Action.Verb == Subscribe {
			t.Action.QoS = 1 + g.r.IntN(2)
		}
	}},
	{"a device without a row", func(g *Generator, t *Triple) {
		if g.r.IntN(2) == 0 {
			t.Identity.Fleet = "nosuch"
		}
		t.Identity.Device = "ghost"
		t.Identity.ClientID = t.Identity.Fleet + "_ghost"
		t.change(func(l []string) []string { l[3], l[4] = t.Identity.Fleet, "ghost"; return l })
	}},
	{"another's client id", func(g *Generator, t *Triple) {
		own := t.Identity.ClientID
		for t.Identity.ClientID == own {
			t.Identity.ClientID = g.pick([]string{"", g.row().clientID(), g.swapCase(own), own + "_", t.Identity.Fleet + "_" + t.Identity.Device})
		}
	}},
}

// text makes a mutation of what changes a topic as text.
func text(f func(*Generator, string) string) func(*Generator, *Triple) {
	return func(g *Generator, t *Triple) { t.Topic = f(g, t.Topic) }
}

// levels gives the levels of the topic.
func (t *Triple) levels() []string { return strings.Split(t.Topic, "/") }

// change changes the levels of the topic.
func (t *Triple) change(f func(levels []string) []string) {
	t.Topic = strings.Join(f(t.levels()), "/")
}

// level changes one level of the topic, the last where there are fewer.
func (t *Triple) level(n int, f func(string) string) {
	t.change(func(l []string) []string { n = min(n, len(l)-1); l[n] = f(l[n]); return l })
}

// put adds a level anywhere.
func (g *Generator) put(t *Triple, level string) {
	t.change(func(l []string) []string {
		n := g.r.IntN(len(l) + 1)
		return append(append(l[:n:n], level), l[n:]...)
	})
}

// single puts a wildcard of one level: for levels, in a level, or as a level more.
func (g *Generator) single(t *Triple, wildcard string) {
	switch g.r.IntN(4) {
	case 0:
		t.Topic = g.insert(t.Topic, wildcard)
	case 1:
		g.put(t, wildcard)
	default:
		for range 1 + g.r.IntN(3) {
			t.level(g.r.IntN(6), func(string) string { return wildcard })
		}
	}
}

// multi puts a wildcard of many levels: for the tail of the topic, behind it, or where none belongs.
func (g *Generator) multi(t *Triple, wildcard string) {
	switch g.r.IntN(4) {
	case 0:
		t.Topic += "/" + wildcard
	case 1:
		t.Topic = g.insert(t.Topic, wildcard)
	default:
		t.change(func(l []string) []string { return append(l[:g.r.IntN(len(l))], wildcard) })
	}
}

// near gives a name that begins as this one does.
func (g *Generator) near(name string) string {
	return g.pick([]string{name + "1", name + "-", name + "_", name + name, "0" + name, name[:len(name)-1]})
}

// insert puts something anywhere.
func (g *Generator) insert(topic, what string) string {
	n := g.r.IntN(len(topic) + 1)
	return topic[:n] + what + topic[n:]
}

// swapCase gives one letter, or all of them, the other case. What has no letter gets one.
func (g *Generator) swapCase(s string) string {
	var letters []int
	for n := range len(s) {
		if c := s[n] | 0x20; c >= 'a' && c <= 'z' {
			letters = append(letters, n)
		}
	}
	switch {
	case len(letters) == 0:
		return s + "x"
	case g.r.IntN(4) == 0:
		return strings.ToUpper(s)
	}
	n := letters[g.r.IntN(len(letters))]
	return s[:n] + string(s[n]^0x20) + s[n+1:]
}
