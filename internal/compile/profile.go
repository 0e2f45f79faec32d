package compile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

// missedHeartbeats is what nodes take where a profile says nothing; it stays unsaid.
const missedHeartbeats = 3

// ProfilePlan is what a DeviceProfile becomes.
type ProfilePlan struct{ Document contract.Profile }

// Profile compiles a DeviceProfile of s.Platform, or of the catalogue when s.Platform is nil.
func Profile(s *Snapshot, o *v1alpha1.DeviceProfile) (ProfilePlan, Problems) {
	var c problems
	claimName(&c, o, s.Profiles)
	doc := contract.Profile{Fields: map[string]contract.Field{}, HeartbeatSeconds: int64(o.Spec.Heartbeat.Seconds())}
	if o.Spec.MissedHeartbeats != missedHeartbeats {
		doc.MissedHeartbeats = o.Spec.MissedHeartbeats
	}
	class := v1alpha1.DataClassC0
	if o.Spec.Retention != nil {
		doc.RetentionSeconds = int64(o.Spec.Retention.Seconds())
		if doc.RetentionSeconds < 1 {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.retention", "is under a second; write how long signals are kept, such as 168h, or leave it out")
		}
		if p := s.Platform; p != nil && o.Spec.Retention.Duration < p.Spec.Broker.Ingest.MaxAge.Duration {
			c.partial(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.retention",
				fmt.Sprintf("is %s, but spec.broker.ingest.maxAge of GridPlatform %s keeps messages for %s: write no less here, or lower that", o.Spec.Retention.Duration, p.Name, p.Spec.Broker.Ingest.MaxAge.Duration))
		}
	}
	for i, f := range o.Spec.Fields {
		class = graver(class, classOfField(f.Personal))
		at := fmt.Sprintf("spec.fields[%d]", i)
		doc.Fields[f.Name] = contract.Field{
			Type: string(f.Type), Unit: f.Unit, Enum: f.Enum, Required: f.Required != nil && *f.Required,
			Min: bound(&c, at+".min", f.Min), Max: bound(&c, at+".max", f.Max),
		}
		if f := doc.Fields[f.Name]; f.Min != nil && f.Max != nil && *f.Min > *f.Max {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".min", "is greater than max; swap them")
		}
	}
	doc.DataClass = string(class)
	for i, k := range o.Spec.Commands {
		if doc.Commands == nil {
			doc.Commands = map[string]contract.Command{}
		}
		doc.Commands[k.Name] = profileCommand(&c, fmt.Sprintf("spec.commands[%d]", i), k)
	}
	return ProfilePlan{doc}, c.list
}

// profileCommand compiles a command. The safe state is sent without anybody looking, so it must be whole and in range here already.
func profileCommand(c *problems, at string, k v1alpha1.ProfileCommand) contract.Command {
	out := contract.Command{ExpiresSeconds: int64(k.ExpiresAfter.Seconds()), Desired: k.Desired != nil && *k.Desired}
	if out.ExpiresSeconds < 1 {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".expiresAfter", "is under a second; write 1s or more, such as 5m")
	}
	for _, s := range k.Senders {
		out.Senders = append(out.Senders, string(s))
	}
	for i, a := range k.Arguments {
		at := fmt.Sprintf("%s.arguments[%d]", at, i)
		if out.Arguments == nil {
			out.Arguments = map[string]contract.Field{}
		}
		out.Arguments[a.Name] = contract.Field{
			Type: string(a.Type), Unit: a.Unit, Enum: a.Enum, Required: true, Min: bound(c, at+".min", a.Min), Max: bound(c, at+".max", a.Max),
		}
	}
	if len(k.SafeState) > 0 {
		out.SafeState = argumentValues(c, at+".safeState", out, k.SafeState, nil)
	}
	return out
}

// argumentValues reads arguments that are written as text into the types of a command, and checks them as they will be checked before
// they are sent. A ${parameter} is filled in from texts.
func argumentValues(c *problems, at string, k contract.Command, values []v1alpha1.ArgumentValue, texts map[string]string) map[string]any {
	wrong := func(field string, p *command.Problem) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, p.Message)
	}
	out := map[string]any{}
	for i, a := range values {
		field := fmt.Sprintf("%s[%d]", at, i)
		f, ok := k.Arguments[a.Name]
		if !ok {
			wrong(field+".name", &command.Problem{Message: fmt.Sprintf("the command has no argument %q; leave it out", a.Name)})
			continue
		}
		text := a.Value
		if name, isParameter := parameterName(text); isParameter && texts != nil {
			if text, ok = texts[name]; !ok {
				c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, field+".value", a.Value+" names no parameter of the scenario")
				continue
			}
		}
		v, problem := command.Parse(f, text)
		if problem != nil {
			wrong(field+".value", problem)
		}
		out[a.Name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(k.Arguments)) {
		if _, given := out[name]; !given && !slices.ContainsFunc(values, func(a v1alpha1.ArgumentValue) bool { return a.Name == name }) {
			wrong(at, &command.Problem{Message: "leaves out argument " + name + "; a command is sent with all of its arguments: add it"})
		}
	}
	return out
}

func bound(c *problems, field, text string) *float64 {
	if text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%q is not a number", text))
		return nil
	}
	return &v
}
