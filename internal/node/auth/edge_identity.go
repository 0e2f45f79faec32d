package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/node/chain"
)

// typeEdge is the type of an edge node's connection, in the broker's words.
const typeEdge = "websocket"

// edgeUser precedes the name of an edge node in the user of its connections. No device's user begins so: it has a dot before the slash.
const edgeUser = "edge/"

// Reasons for a refusal of an edge node.
const (
	ReasonNoEdge   Reason = "UnknownEdgeNode"
	ReasonBadKey   Reason = "KeyNotApproved"
	ReasonNoToken  Reason = "NoEnrolmentToken"
	ReasonBadToken Reason = "WrongEnrolmentToken"
)

// edgeEntry is what the registry knows of an edge node.
type edgeEntry struct {
	contract.EdgeCredential
	issuers chain.Issuers
}

// takeEdges reads the credentials of edge nodes. An issuer that cannot be read is left out and told.
func (r *Registry) takeEdges(credentials map[string]contract.EdgeCredential) []error {
	r.edges = make(map[string]*edgeEntry, len(credentials))
	var problems []error
	for name, c := range credentials {
		issuers, found := chain.Read(c.Issuers, nil)
		for _, err := range found {
			problems = append(problems, fmt.Errorf("edge node %s: %w", name, err))
		}
		r.edges[name] = &edgeEntry{EdgeCredential: c, issuers: issuers}
	}
	return problems
}

// identifyEdge says which edge node a connection speaks for. A certificate makes it the node, a token lets it enrol and nothing else.
func (r *Registry) identifyEdge(req Request, now time.Time, verify Verifier) (Identity, *Refusal) {
	if len(req.Chain) > 0 {
		return r.edgeByCertificate(req, now)
	}
	return r.edgeByToken(req, verify)
}

// edgeByCertificate wants all three: the URI of the node, an issuer of this very node, and a key that was approved. The key decides:
// whoever can make this CA sign something gets in only with a key that somebody approved.
func (r *Registry) edgeByCertificate(req Request, now time.Time) (Identity, *Refusal) {
	leaf := req.Chain[0]
	if len(leaf.URIs) != 1 {
		return Identity{}, &Refusal{Reason: ReasonBadURI}
	}
	name, err := contract.ParseEdgeURI(r.platform, leaf.URIs[0].String())
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadURI}
	}
	e := r.edges[name]
	if e == nil {
		return Identity{}, &Refusal{Reason: ReasonNoEdge}
	}
	if req.Username != "" && req.Username != name {
		return Identity{}, &Refusal{Reason: ReasonMixedIdentity}
	}
	key := contract.Digest(leaf.RawSubjectPublicKeyInfo)
	if !slices.Contains(e.KeyDigests, key) {
		return Identity{}, &Refusal{Reason: ReasonBadKey}
	}
	issuer, until, err := e.issuers.Verify(req.Chain, now)
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadIssuer}
	}
	return Identity{Edge: name, Stamp: edgeStamp(name, "key", key, issuer), Until: until}, nil
}

// edgeByToken admits a node that has no certificate yet, as long as the bundle holds the hash of its token.
func (r *Registry) edgeByToken(req Request, verify Verifier) (Identity, *Refusal) {
	switch {
	case req.Username == "":
		return Identity{}, &Refusal{Reason: ReasonNoCredential}
	case !contract.ValidFleet(req.Username):
		return Identity{}, &Refusal{Reason: ReasonBadUsername}
	}
	e := r.edges[req.Username]
	switch {
	case e == nil:
		return Identity{}, &Refusal{Reason: ReasonNoEdge}
	case e.TokenHash == "":
		return Identity{}, &Refusal{Reason: ReasonNoToken}
	}
	hash, err := password.Parse(e.TokenHash)
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadHash}
	}
	switch match, ok := verify(hash, req.Password); {
	case !ok:
		return Identity{}, &Refusal{Reason: ReasonBusy}
	case !match:
		return Identity{}, &Refusal{Reason: ReasonBadToken}
	}
	return Identity{Edge: req.Username, Token: true, Stamp: edgeStamp(req.Username, "token", e.TokenHash, noIssuer)}, nil
}

// edgeStamp digests what the admission of an edge node rests on.
func edgeStamp(name, kind, proof string, issuer chain.Key) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q ", name, kind, proof)
	h.Write(issuer[:])
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// edgeStays is Stays for the rest of an edge node's user, "<name>/<stamp>".
func (r *Registry) edgeStays(rest string) bool {
	name, stamp, ok := strings.Cut(rest, "/")
	e := r.edges[name]
	if !ok || e == nil {
		return false
	}
	if e.TokenHash != "" && stamp == edgeStamp(name, "token", e.TokenHash, noIssuer) {
		return true
	}
	return slices.ContainsFunc(e.KeyDigests, func(key string) bool {
		return slices.ContainsFunc(e.issuers.Keys, func(k chain.Key) bool { return stamp == edgeStamp(name, "key", key, k) })
	})
}

// revokesEdges reports whether an edge node that old admits could have to go under next.
func revokesEdges(old, next *Registry) bool {
	for name, was := range old.edges {
		is := next.edges[name]
		if is == nil || lost(was.issuers.Keys, is.issuers.Keys) || (was.TokenHash != "" && was.TokenHash != is.TokenHash) ||
			slices.ContainsFunc(was.KeyDigests, func(k string) bool { return !slices.Contains(is.KeyDigests, k) }) {
			return true
		}
	}
	return false
}

// edgePermissions gives what an edge node may do: its own requests, the answers to them, and what is pushed to it. One that came with a
// token may enrol.
func edgePermissions(id Identity) jwt.Permissions {
	var p jwt.Permissions
	p.Sub.Allow.Add(contract.InboxPrefix(id.Edge) + ".>")
	if id.Token {
		p.Pub.Allow.Add(contract.EdgeSubject(id.Edge, contract.EdgeEnrol))
		return p
	}
	for _, v := range contract.EdgeRequests() {
		p.Pub.Allow.Add(contract.EdgeSubject(id.Edge, v))
	}
	for _, v := range contract.EdgePushes() {
		p.Sub.Allow.Add(contract.EdgeSubject(id.Edge, v))
	}
	return p
}

// edgeClaims is Claims for an edge node: in an account of its own, over WebSocket and nothing else.
func edgeClaims(id Identity, userKey string, now time.Time, jitter float64) *jwt.UserClaims {
	uc := jwt.NewUserClaims(userKey)
	uc.Name = id.User()
	uc.Audience = contract.AccountEdge
	uc.IssuedAt = now.Unix()
	uc.Expires = expiry(id, now, jitter)
	uc.Permissions = edgePermissions(id)
	uc.AllowedConnectionTypes.Add(jwt.ConnectionTypeWebsocket)
	return uc
}
