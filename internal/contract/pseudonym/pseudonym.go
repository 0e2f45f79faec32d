// Package pseudonym names a subject in the decision log, so that the gateway that writes it and the vault that looks somebody up in it
// say the same.
package pseudonym

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Bytes is the length of a pseudonym before hex: 128 bits are beyond collision for any city.
const Bytes = 16

// SubjectKey derives the key of the pseudonyms in the decision log from the gateway's key.
func SubjectKey(root []byte) []byte { return Derive(root, "subject") }

// Derive gives a key of one use from the gateway's key: none can be turned into another.
func Derive(root []byte, label string) []byte {
	h := hmac.New(sha256.New, root)
	h.Write([]byte("dizuo gateway v1\x00" + label))
	return h.Sum(nil)
}

// Of gives the pseudonym of a value under a key: the first Bytes of HMAC-SHA-256, in hex.
func Of(key []byte, value string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(value))
	return hex.EncodeToString(h.Sum(nil)[:Bytes])
}
