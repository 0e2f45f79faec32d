package gather

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/nats-io/nkeys"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract/password"
)

// Generated reads the Secrets that are made once, and makes up what is missing: randomness enters the compiler here, as a
// value. A key that a later version adds is made up beside those that stand, and those stay as they are.
func (r *Reader) Generated(ctx context.Context, p *v1alpha1.GridPlatform) (map[types.NamespacedName]map[string][]byte, error) {
	out := map[types.NamespacedName]map[string][]byte{}
	for key, names := range compile.GeneratedSecrets(p) {
		secret, admitted, err := r.Secrets.Get(ctx, key)
		if err == nil && admitted && (secret == nil || lacks(secret.Data, names)) {
			// A cache that does not show a Secret or a key yet would have it made up twice, and the second would lock out what the first opened.
			secret, err = r.Secrets.Read(ctx, key)
		}
		if err != nil {
			return nil, err
		}
		if !admitted {
			continue
		}
		if secret == nil {
			secret = &corev1.Secret{}
		}
		if out[key], err = fill(key.Name, secret.Data, names); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func lacks(data map[string][]byte, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return len(data[name]) == 0 })
}

// fill gives the data of a Secret with every name: what stands, and for what is missing 256 random bits. The auth callout's two keys
// are one pair, so they are made anew together: an nkey of an account.
func fill(secret string, stands map[string][]byte, names []string) (map[string][]byte, error) {
	if secret == compile.SecretCallout && lacks(stands, names) {
		return callout()
	}
	out := maps.Clone(stands)
	if out == nil {
		out = map[string][]byte{}
	}
	for _, name := range names {
		if len(out[name]) > 0 {
			continue
		}
		raw := make([]byte, 32)
		if _, err := rand.Read(raw); err != nil {
			return nil, err
		}
		out[name] = []byte(base64.RawURLEncoding.EncodeToString(raw))
		if secret == compile.SecretEMQX { // EMQX reads one of them as a value of its configuration language: a letter, then letters and digits
			out[name] = []byte("k" + hex.EncodeToString(raw))
		}
	}
	return out, nil
}

func callout() (map[string][]byte, error) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		return nil, err
	}
	seed, err := account.Seed()
	if err != nil {
		return nil, err
	}
	public, err := account.PublicKey()
	return map[string][]byte{"seed": seed, "public": []byte(public)}, err
}

// EdgeToken reads the one-time token of an edge node, and makes one up where none stands. Only its salted hash goes further.
func (r *Reader) EdgeToken(ctx context.Context, s *compile.Snapshot, o *v1alpha1.EdgeNode) error {
	key := types.NamespacedName{Namespace: o.Namespace, Name: compile.EdgeTokenName(o.Name)}
	secret, admitted, err := r.Secrets.Get(ctx, key)
	if err == nil && admitted && secret == nil { // as above
		secret, err = r.Secrets.Read(ctx, key)
	}
	if err != nil {
		return err
	}
	if secret != nil {
		s.Edge.Token = secret.Data
		return nil
	}
	if !admitted {
		return nil
	}
	token, err := password.Generate(rand.Reader)
	if err != nil {
		return err
	}
	hash, err := password.HashGenerated(token, rand.Reader)
	s.Edge.Made, s.Edge.Token = true, map[string][]byte{compile.EdgeTokenKey: []byte(token), compile.EdgeTokenHashKey: []byte(hash)}
	return err
}
