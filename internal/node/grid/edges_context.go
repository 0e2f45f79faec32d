package grid

import (
	"encoding/json"

	"github.com/dizuo/dizuo/internal/contract"
)

// asking is a batch of an edge node whose answer says what the node does not know.
type asking struct {
	edge  string
	known contract.EdgeKnown
	// reply is the place of the answer among the replies.
	reply int
}

// asks notes that the answer which is being made is to say what a node does not know. A node of the version before asks for nothing.
func (b *batch) asks(edge string, known *contract.EdgeKnown) {
	if known != nil {
		b.asking = append(b.asking, asking{edge, *known, len(b.replies)})
	}
}

// tell adds to the answers what their nodes do not know.
func (b *batch) tell() error {
	for _, a := range b.asking {
		var is contract.EdgeContext
		digest, err := digestOf(b.s.switched)
		if err != nil {
			return err
		}
		if digest != a.known.Modes {
			is.ModesDigest, is.Modes = digest, b.s.switched
		}
		if is.ModesDigest == "" {
			continue
		}
		if out, ok := b.replies[a.reply].body.(contract.EdgeBatchReply); ok {
			out.Context = &is
			b.replies[a.reply].body = out
		}
	}
	return nil
}

func digestOf(x any) (string, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return "", err
	}
	return contract.Digest(raw), nil
}

// switchesOf gives the switches that rows say, the last row first, with the end that the last of them has.
func switchesOf(rows []modeRow) (out []contract.ModeSwitch) {
	for _, m := range switches(rows) {
		out = append(out, contract.ModeSwitch{Mode: m.mode, Since: m.at})
	}
	if len(rows) > 0 && rows[0].EndedAt == nil && rows[0].ExpiresAt != nil {
		out[len(out)-1].ExpiresAt = rows[0].ExpiresAt.UTC()
	}
	return out
}
