// Package password makes and checks the password hashes of devices that stand in contract.Credential.PasswordHash.
//
// There are two forms. A generated password carries 128 random bits, so that one salted SHA-256 is as strong as it needs to
// be and a broker can check thousands a second:
//
//	sha256:<salt>:<hash>          both base64url without padding; hash = SHA-256(salt || password)
//
// A password that a person or a vendor chose is guessable, so it costs memory and time:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>      PHC string, base64 without padding
package password

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	saltBytes     = 16
	generatedSize = 16 // 128 bits

	// Cost of a new argon2id hash: OWASP's minimum, 19 MiB and two passes.
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonBytes  = 32

	// Bounds on what a foreign hash may ask the checking process to spend: vendors write hashes into inventories.
	maxArgonMemory = 64 * 1024 // KiB
	maxArgonTime   = 8
	maxArgonLanes  = 4
	// maxPassword bounds the input of a hash, in bytes.
	maxPassword = 1024
)

// Hash is a parsed password hash. The zero value verifies nothing.
type Hash struct {
	salt, sum []byte
	argon     *argonCost
}

type argonCost struct {
	memory, time uint32
	lanes        uint8
}

// Generate gives a password of 128 random bits in base64url (22 characters), read from random, such as
// crypto/rand.Reader.
func Generate(random io.Reader) (string, error) {
	raw := make([]byte, generatedSize)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("generate password: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// HashGenerated hashes a password that Generate made (or one of at least 128 random bits) to the form "sha256:".
func HashGenerated(password string, random io.Reader) (string, error) {
	salt, err := newSalt(password, random)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	return "sha256:" + enc.EncodeToString(salt) + ":" + enc.EncodeToString(sha256Sum(salt, password)), nil
}

// HashChosen hashes a password that somebody chose to an argon2id PHC string.
func HashChosen(password string, random io.Reader) (string, error) {
	salt, err := newSalt(password, random)
	if err != nil {
		return "", err
	}
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonBytes)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes,
		enc.EncodeToString(salt), enc.EncodeToString(sum)), nil
}

// Parse reads a hash in one of the two forms. The error says what is wrong and what to write, and never repeats the hash.
func Parse(encoded string) (Hash, error) {
	switch {
	case strings.HasPrefix(encoded, "sha256:"):
		return parseSHA256(encoded)
	case strings.HasPrefix(encoded, "$argon2id$"):
		return parseArgon(encoded)
	}
	return Hash{}, errors.New(`password hash: unknown form; write "sha256:<salt>:<hash>" or an argon2id PHC string`)
}

// Costly reports whether Verify takes memory and milliseconds, so that a caller can bound how many run at once.
func (h Hash) Costly() bool { return h.argon != nil }

// Verify reports whether password is the one that was hashed. Its time does not depend on where the hashes differ.
func (h Hash) Verify(password string) bool {
	if len(h.sum) == 0 || len(password) > maxPassword {
		return false
	}
	var got []byte
	if h.argon != nil {
		got = argon2.IDKey([]byte(password), h.salt, h.argon.time, h.argon.memory, h.argon.lanes, uint32(len(h.sum)))
	} else {
		got = sha256Sum(h.salt, password)
	}
	return subtle.ConstantTimeCompare(got, h.sum) == 1
}

func newSalt(password string, random io.Reader) ([]byte, error) {
	if password == "" || len(password) > maxPassword {
		return nil, fmt.Errorf("hash password: length %d; want 1 to %d bytes", len(password), maxPassword)
	}
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	return salt, nil
}

func sha256Sum(salt []byte, password string) []byte {
	h := sha256.New()
	h.Write(salt)
	io.WriteString(h, password) //nolint:errcheck // a hash never fails
	return h.Sum(nil)
}

func parseSHA256(encoded string) (Hash, error) {
	parts := strings.Split(encoded, ":")
	if len(parts) != 3 {
		return Hash{}, fmt.Errorf(`password hash: %d parts; write "sha256:<salt>:<hash>"`, len(parts))
	}
	salt, err1 := base64.RawURLEncoding.DecodeString(parts[1])
	sum, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil {
		return Hash{}, errors.New("password hash: salt and hash must be base64url without padding")
	}
	if len(salt) < saltBytes || len(sum) != sha256.Size {
		return Hash{}, fmt.Errorf("password hash: salt of %d and hash of %d bytes; want at least %d and %d", len(salt), len(sum), saltBytes, sha256.Size)
	}
	return Hash{salt: salt, sum: sum}, nil
}

func parseArgon(encoded string) (Hash, error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return Hash{}, fmt.Errorf(`password hash: write "$argon2id$v=%d$m=...,t=...,p=...$<salt>$<hash>"`, argon2.Version)
	}
	var c argonCost
	var rest string
	if n, _ := fmt.Sscanf(parts[3]+" .", "m=%d,t=%d,p=%d %s", &c.memory, &c.time, &c.lanes, &rest); n != 4 || rest != "." {
		return Hash{}, errors.New(`password hash: argon2id cost must read "m=<KiB>,t=<passes>,p=<lanes>"`)
	}
	if c.memory < 8*uint32(c.lanes) || c.memory > maxArgonMemory || c.time < 1 || c.time > maxArgonTime || c.lanes < 1 || c.lanes > maxArgonLanes {
		return Hash{}, fmt.Errorf("password hash: argon2id cost m=%d,t=%d,p=%d; at most m=%d,t=%d,p=%d is taken",
			c.memory, c.time, c.lanes, maxArgonMemory, maxArgonTime, maxArgonLanes)
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil {
		return Hash{}, errors.New("password hash: salt and hash must be base64 without padding")
	}
	if len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return Hash{}, fmt.Errorf("password hash: salt of %d and hash of %d bytes; want 8 to 64 and 16 to 64", len(salt), len(sum))
	}
	return Hash{salt: salt, sum: sum, argon: &c}, nil
}
