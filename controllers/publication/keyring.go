package publication

import (
	"bytes"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

const (
	// trustWait is how long a new key waits for nodes that do not say that they trust it: longer than a kubelet takes to bring a file.
	trustWait = 10 * time.Minute
	// trustLook is how often the nodes are looked at meanwhile.
	trustLook = 2 * time.Second
)

// keyring says which keys the nodes of a platform trust, and which of them signs. It is in the platform's status, written before a key
// is used:
//
//	cert-manager issues a new key -> trusted beside the former, which signs that it follows -> every online node has both -> it signs, all shards are sealed anew
//	-> no lease that the former signed is alive -> the former is trusted no more
type keyring struct {
	keys []v1alpha1.BundleKey
	// signing is the id of the key that signs.
	signing string
	// successions say which key followed which, signed, oldest first: for edge nodes, which may have been away.
	successions []string
}

// turn gives the keyring after a look: issued is the key in the Secret, held says that the private key of signing is at hand, known that
// every online node trusts all keys, and life is the longest that a lease lives. changed says that it must be written down; due is when
// to look again, zero if nothing is awaited.
func (k keyring) turn(issued *seal.Signer, held, known bool, life time.Duration, now time.Time) (next keyring, changed bool, due time.Time, err error) {
	public, err := issued.Public()
	if err != nil {
		return k, false, due, err
	}
	next = keyring{slices.Clone(k.keys), k.signing, k.successions}
	over := &metav1.Time{Time: now.Add(life).UTC().Truncate(time.Second)}
	at := slices.IndexFunc(next.keys, func(key v1alpha1.BundleKey) bool { return key.ID == issued.KeyID })
	if at < 0 {
		next.keys = append(next.keys, v1alpha1.BundleKey{ID: issued.KeyID, PublicKey: string(public), Since: metav1.NewTime(now.UTC().Truncate(time.Second))})
		at, changed, known = len(next.keys)-1, true, false
	}
	for i := range next.keys {
		key := &next.keys[i]
		switch {
		case key.ID == issued.KeyID && key.NotAfter != nil: // it came back
			key.NotAfter, changed = nil, true
		case key.ID != issued.KeyID && key.ID != next.signing && key.NotAfter == nil: // the one before was put back
			key.NotAfter, changed = over, true
		}
	}
	if next.signing != issued.KeyID {
		wait := next.keys[at].Since.Add(trustWait)
		if held && !known && now.Before(wait) {
			return next, changed, now.Add(trustLook), nil
		}
		next.retire(over)
		next.signing, next.keys[at].NotAfter, changed = issued.KeyID, nil, true
	}
	next.keys = slices.DeleteFunc(next.keys, func(key v1alpha1.BundleKey) bool {
		gone := key.ID != next.signing && key.NotAfter != nil && !now.Before(key.NotAfter.Time)
		changed = changed || gone
		return gone
	})
	for _, key := range next.keys {
		if key.NotAfter != nil && (due.IsZero() || key.NotAfter.Time.Before(due)) {
			due = key.NotAfter.Time
		}
	}
	return next, changed, due, nil
}

// succeed lets the key that signed until now name the issued one, before that one signs. It reports whether this is new.
func (k *keyring) succeed(platform string, former, issued *seal.Signer, now time.Time) (bool, error) {
	if former == nil || former.KeyID == issued.KeyID || seal.SuccessionTo(k.successions, former.KeyID, issued.KeyID) {
		return false, nil
	}
	public, err := issued.Public()
	if err != nil {
		return false, err
	}
	line, err := former.Succession(platform, public, now)
	if err != nil {
		return false, err
	}
	k.successions = append(slices.Clone(k.successions), line)
	k.successions = k.successions[max(0, len(k.successions)-seal.MaxSuccessions):]
	return true, nil
}

// retire lets every key but the one that is to sign end when no lease can be alive that it signed.
func (k keyring) retire(over *metav1.Time) {
	for i := range k.keys {
		if k.keys[i].NotAfter == nil {
			k.keys[i].NotAfter = over
		}
	}
}

// pem gives the public keys, as nodes have them in their file.
func (k keyring) pem() []byte {
	var out bytes.Buffer
	for _, key := range k.keys {
		out.WriteString(key.PublicKey)
	}
	return out.Bytes()
}

// ringOf reads the keyring from a status.
func ringOf(b *v1alpha1.BundleStatus) keyring {
	if b == nil {
		return keyring{}
	}
	k := keyring{keys: b.Keys, signing: b.SigningKeyID, successions: b.Successions}
	if len(k.keys) == 0 {
		k.signing = "" // of before keys were noted: the one that is there signs
	}
	return k
}

// status gives the keys as the status has them.
func (k keyring) status() []any {
	out := []any{}
	for _, key := range k.keys {
		m := map[string]any{"id": key.ID, "publicKey": key.PublicKey, "since": key.Since.UTC().Format(time.RFC3339)}
		if key.NotAfter != nil {
			m["notAfter"] = key.NotAfter.UTC().Format(time.RFC3339)
		}
		out = append(out, m)
	}
	return out
}

// lines gives the successions as the status has them.
func (k keyring) lines() []any {
	out := []any{}
	for _, line := range k.successions {
		out = append(out, line)
	}
	return out
}
