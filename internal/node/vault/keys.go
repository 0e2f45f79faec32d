package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/dizuo/dizuo/internal/contract/pseudonym"
)

// minKeyBytes is the shortest key that is taken.
const minKeyBytes = 32

// errSealed is given for what does not open: it was sealed under another key, or for another place.
var errSealed = errors.New("vault: what is sealed does not open under the vault's key")

// keys holds what is derived from the key of the vault, one for each use, and the key of pseudonyms in the decision log.
type keys struct {
	wrap, identity, task []byte
	log                  []byte
}

// readKeys reads the key of the vault and the gateway's key of pseudonyms; white space at their end is not part of them.
func readKeys(vaultFile, pseudonymFile string) (keys, error) {
	var roots [2][]byte
	for i, path := range []string{vaultFile, pseudonymFile} {
		raw, err := os.ReadFile(path)
		if err != nil {
			return keys{}, fmt.Errorf("vault key: %w", err)
		}
		if roots[i] = bytes.TrimRight(raw, " \t\r\n"); len(roots[i]) < minKeyBytes {
			return keys{}, fmt.Errorf("vault key %s: %d bytes, want at least %d", path, len(roots[i]), minKeyBytes)
		}
	}
	return newKeys(roots[0], roots[1]), nil
}

func newKeys(vault, gateway []byte) keys {
	return keys{wrap: derive(vault, "wrap"), identity: derive(vault, "identity"), task: derive(vault, "task"), log: pseudonym.SubjectKey(gateway)}
}

func derive(root []byte, label string) []byte {
	h := hmac.New(sha256.New, root)
	h.Write([]byte("dizuo vault v1\x00" + label))
	return h.Sum(nil)
}

// lookup gives the key under which an identity is found: HMAC-SHA-256 of source and identity. Who has the table and not the vault's key
// cannot try identity numbers, of which there are few.
func (k keys) lookup(source, identity string) []byte {
	h := hmac.New(sha256.New, k.identity)
	fmt.Fprintf(h, "%d\x00%s\x00%s", len(source), source, identity)
	return h.Sum(nil)
}

// newSubject gives 128 random bits in hex.
func newSubject() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return hex.EncodeToString(raw)
}

// newKey gives a key of a subject, and the same wrapped for the table.
func (k keys) newKey(subject string) (key, wrapped []byte, err error) {
	key = make([]byte, 32)
	_, _ = rand.Read(key)
	wrapped, err = seal(k.wrap, key, "key", subject)
	return key, wrapped, err
}

func (k keys) unwrap(wrapped []byte, subject string) ([]byte, error) {
	return open(k.wrap, wrapped, "key", subject)
}

// seal encrypts with AES-256-GCM under a random nonce, bound to the place where it lies.
func seal(key, plain []byte, place ...string) ([]byte, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, a.NonceSize(), a.NonceSize()+len(plain)+a.Overhead())
	_, _ = rand.Read(nonce)
	return a.Seal(nonce, nonce, plain, bound(place)), nil
}

func open(key, sealed []byte, place ...string) ([]byte, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < a.NonceSize() {
		return nil, errSealed
	}
	plain, err := a.Open(nil, sealed[:a.NonceSize()], sealed[a.NonceSize():], bound(place))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	return cipher.NewGCM(block)
}

func bound(place []string) []byte {
	var b bytes.Buffer
	for _, p := range place {
		fmt.Fprintf(&b, "%d\x00%s", len(p), p)
	}
	return b.Bytes()
}
