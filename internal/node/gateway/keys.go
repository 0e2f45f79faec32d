package gateway

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	subjects "github.com/dizuo/dizuo/internal/contract/pseudonym"
)

// pseudonymBytes is the length of a pseudonym before hex.
const pseudonymBytes = subjects.Bytes

// minKeyBytes is the shortest key that is taken.
const minKeyBytes = 32

var errCursor = errors.New("the cursor is not one of this request: leave it out to begin again")

// keys holds what is derived from the gateway's key. Each use has a key of its own, so none can be turned into another.
type keys struct {
	root    []byte
	subject []byte
	cursor  cipher.AEAD
}

// readKeys reads the key file; white space at its end is not part of the key.
func readKeys(path string) (keys, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return keys{}, fmt.Errorf("pseudonym key: %w", err)
	}
	return newKeys(bytes.TrimRight(raw, " \t\r\n"))
}

func newKeys(root []byte) (keys, error) {
	if len(root) < minKeyBytes {
		return keys{}, fmt.Errorf("pseudonym key: %d bytes, want at least %d", len(root), minKeyBytes)
	}
	k := keys{root: root}
	k.subject = subjects.SubjectKey(root)
	block, err := aes.NewCipher(k.derive("cursor"))
	if err != nil {
		return keys{}, err
	}
	k.cursor, err = cipher.NewGCM(block)
	return k, err
}

// mask gives the key of the mask Pseudonym under one agreement: the same person has another pseudonym under another.
func (k keys) mask(agreementUID string) []byte { return k.derive("mask\x00" + agreementUID) }

// order gives the key by which records are mixed under one agreement whose own key the answer does not tell.
func (k keys) order(agreementUID string) []byte { return k.derive("order\x00" + agreementUID) }

func (k keys) derive(label string) []byte { return subjects.Derive(k.root, label) }

// hmacPads gives the padded keys of HMAC-SHA-256 (RFC 2104) for a key of at most 64 bytes.
func hmacPads(key []byte) (inner, outer []byte) {
	inner, outer = bytes.Repeat([]byte{0x36}, sha256.BlockSize), bytes.Repeat([]byte{0x5c}, sha256.BlockSize)
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	return inner, outer
}

// pseudonym computes in Go what selectBuilder.hmac computes in the database.
func pseudonym(key []byte, value string) string { return subjects.Of(key, value) }

// seal makes a cursor. It is encrypted, since the key of a row may be personal, and bound to what was asked.
func (k keys) seal(p position, bound ...string) (string, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, k.cursor.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(k.cursor.Seal(nonce, nonce, raw, bindTo(bound))), nil
}

// open reads a cursor; an empty one begins at the beginning.
func (k keys) open(cursor string, bound ...string) (*position, error) {
	if cursor == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < k.cursor.NonceSize() {
		return nil, errCursor
	}
	n := k.cursor.NonceSize()
	plain, err := k.cursor.Open(nil, raw[:n], raw[n:], bindTo(bound))
	if err != nil {
		return nil, errCursor
	}
	var p position
	if err := json.Unmarshal(plain, &p); err != nil || p.Seen < 0 {
		return nil, errCursor
	}
	return &p, nil
}

func bindTo(parts []string) []byte { return []byte(strings.Join(parts, "\x00")) }
