package audit

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// ReplayQuery asks opa for the decisions on all requests of its input at once.
const ReplayQuery = "[d | some i in input.requests; d := data.dizuo.access.decision with input as i]"

// Replay is a set of decisions that were made by the same parts of a bundle.
type Replay struct {
	// Parts are the files of the signed parts.
	Parts []string
	Lines []decisionlog.Line
	// Missing says why they cannot be made again; empty if they can.
	Missing string
}

// ownReasons are refusals that the gateway makes beside the policy. They give nobody more than the policy does.
var ownReasons = []string{"PersonInvalid", "QuotaExceeded", "PolicyError", "RateLimited"}

// Own says whether a decision is a refusal that the gateway makes beside the policy.
func Own(d *contract.Decision) bool {
	return !d.Allow && slices.ContainsFunc(d.Reasons, func(r string) bool { return slices.Contains(ownReasons, r) })
}

// Replays collects the decisions of an archive by the parts that made them, in the order of the log.
func Replays(fsys fs.FS) ([]*Replay, error) {
	logs, err := fs.Sub(fsys, LogDir)
	if err != nil {
		return nil, err
	}
	var out []*Replay
	byParts := map[string]*Replay{}
	_, err = Verify(logs, Trust{}, nil, func(_ string, l decisionlog.Line) {
		if l.Kind != contract.LogDecision || l.Said == nil || l.Said.Input == nil {
			return
		}
		r := replayOf(fsys, l)
		key := fmt.Sprint(r.Parts, r.Missing)
		if byParts[key] == nil {
			byParts[key] = r
			out = append(out, r)
		}
		byParts[key].Lines = append(byParts[key].Lines, l)
	})
	return out, err
}

func replayOf(fsys fs.FS, l decisionlog.Line) *Replay {
	r := &Replay{}
	if l.V != contract.LogFormat {
		r.Missing = "lines of format 1 name no parts of the policy"
		return r
	}
	refs := []contract.ShardRef{{Name: contract.ShardAccess, Digest: l.Said.Policy.Access}}
	if l.Said.Policy.Grants != "" {
		refs = append(refs, contract.ShardRef{Name: contract.GrantsShard(l.Said.Input.Consumer), Digest: l.Said.Policy.Grants})
	}
	for _, ref := range refs {
		name := path.Join(PolicyDir, PartName(ref.Digest))
		raw, err := fs.ReadFile(fsys, name)
		if err == nil {
			err = signedBy(fsys, raw, ref)
		}
		if err != nil {
			r.Missing = fmt.Sprintf("part %s of the policy: %v", ref.Name, err)
			return r
		}
		r.Parts = append(r.Parts, name)
	}
	return r
}

// signedBy checks a part against the keys in the archive and the digest that the line names.
func signedBy(fsys fs.FS, raw []byte, ref contract.ShardRef) error {
	keys, err := fs.ReadFile(fsys, BundleKeys)
	if err != nil {
		return err
	}
	trust, err := seal.NewTrust(keys)
	if err != nil {
		return err
	}
	_, err = trust.Shard(raw, ref)
	return err
}

// Same holds an answer of opa against what was logged.
func Same(answer json.RawMessage, logged *contract.Decision) error {
	var got contract.Decision
	if err := json.Unmarshal(answer, &got); err != nil {
		return fmt.Errorf("opa answers %s: %w", answer, err)
	}
	a, b := plain(got), plain(*logged)
	if a != b {
		return fmt.Errorf("opa decides %s, the log has %s", a, b)
	}
	return nil
}

// plain writes a decision in one way: a list that is empty is none.
func plain(d contract.Decision) string {
	if len(d.Reasons) == 0 {
		d.Reasons = nil
	}
	if d.Rows != nil {
		rows := *d.Rows
		if len(rows.Divisions) == 0 {
			rows.Divisions = nil
		}
		d.Rows = &rows
	}
	raw, err := json.Marshal(d)
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	return string(raw)
}
