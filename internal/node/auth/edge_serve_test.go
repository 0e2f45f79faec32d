package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

func spki(t testing.TB, key crypto.Signer) string {
	t.Helper()
	return contract.Digest(must(x509.MarshalPKIXPublicKey(key.Public()))(t))
}

// request gives a certificate request (PEM) for an edge node's URI, changed by change.
func csrFor(t testing.TB, edge string, key crypto.Signer, change func(*x509.CertificateRequest)) string {
	t.Helper()
	r := &x509.CertificateRequest{URIs: []*url.URL{must(url.Parse(contract.EdgeURI(platform, edge)))(t)}}
	if change != nil {
		change(r)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: must(x509.CreateCertificateRequest(rand.Reader, r, key))(t)}))
}

func TestCheckEnrolment(t *testing.T) {
	key := newKey(t)
	good := csrFor(t, "north", key, nil)
	server := func(change func(*x509.CertificateRequest)) string {
		return csrFor(t, "north", key, func(r *x509.CertificateRequest) { r.URIs = nil; change(r) })
	}
	names := server(func(r *x509.CertificateRequest) {
		r.DNSNames, r.IPAddresses = []string{"north.local"}, []net.IP{net.IPv4(10, 0, 0, 7)}
	})
	for name, req := range map[string]contract.EnrolRequest{
		"client":                 {CSR: good},
		"client and server":      {CSR: good, ServerCSR: names},
		"its name as CN":         {CSR: csrFor(t, "north", key, func(r *x509.CertificateRequest) { r.Subject = pkix.Name{CommonName: "north"} })},
		"P-384":                  {CSR: csrFor(t, "north", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t), nil)},
		"a server with one host": {CSR: good, ServerCSR: server(func(r *x509.CertificateRequest) { r.DNSNames = []string{"north.local"} })},
	} {
		if _, err := checkEnrolment(platform, "north", req); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, _ := checkEnrolment(platform, "north", contract.EnrolRequest{CSR: good}); got != spki(t, key) {
		t.Errorf("key %s, want %s", got, spki(t, key))
	}
	broken := []byte(good)
	broken[len(broken)/2] ^= 1
	block, _ := pem.Decode([]byte(good))
	forged := append([]byte{}, block.Bytes...)
	forged[len(forged)-1] ^= 1
	change := func(f func(*x509.CertificateRequest)) string { return csrFor(t, "north", key, f) }
	for name, req := range map[string]contract.EnrolRequest{
		"nothing":              {},
		"no PEM":               {CSR: "x"},
		"broken":               {CSR: string(broken)},
		"two blocks":           {CSR: good + good},
		"a certificate":        {CSR: newCA(t, "x").pem},
		"signature of another": {CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}))},
		"RSA":                  {CSR: csrFor(t, "north", must(rsa.GenerateKey(rand.Reader, 2048))(t), nil)},
		"P-224":                {CSR: csrFor(t, "north", must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t), nil)},
		"Ed25519":              {CSR: csrFor(t, "north", ed25519.NewKeyFromSeed(make([]byte, 32)), nil)},
		"another node":         {CSR: csrFor(t, "south", key, nil)},
		"a node and another": {CSR: change(func(r *x509.CertificateRequest) {
			r.URIs = append(r.URIs, must(url.Parse(contract.EdgeURI(platform, "south")))(t))
		})},
		"a role": {CSR: change(func(r *x509.CertificateRequest) {
			r.URIs[0] = must(url.Parse(contract.RoleURI(platform, contract.UserGrid)))(t)
		})},
		"a host beside":     {CSR: change(func(r *x509.CertificateRequest) { r.DNSNames = []string{"dizuo-nats"} })},
		"an address beside": {CSR: change(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} })},
		"an e-mail beside":  {CSR: change(func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@b"} })},
		"a CN of another":   {CSR: change(func(r *x509.CertificateRequest) { r.Subject = pkix.Name{CommonName: "south"} })},
		"an organisation":   {CSR: change(func(r *x509.CertificateRequest) { r.Subject = pkix.Name{Organization: []string{"system:masters"}} })},
		"to be a CA": {CSR: change(func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}
		})},
		"a server with a URI":     {CSR: good, ServerCSR: good},
		"a server without a name": {CSR: good, ServerCSR: server(func(*x509.CertificateRequest) {})},
		"a server of wildcards":   {CSR: good, ServerCSR: server(func(r *x509.CertificateRequest) { r.DNSNames = []string{"*.svc"} })},
		"a server of many names":  {CSR: good, ServerCSR: server(func(r *x509.CertificateRequest) { r.DNSNames = strings.Split(strings.Repeat("a.local ", 17), " ")[:17] })},
	} {
		if got, err := checkEnrolment(platform, "north", req); err == nil {
			t.Errorf("%s: taken as %s", name, got)
		}
	}
}

// TestIdentifyEdge holds what the TLS listener would refuse before, and the rest, against the registry alone.
func TestIdentifyEdge(t *testing.T) {
	root, other := newCA(t, "root"), newCA(t, "other")
	cert := root.client(t, contract.EdgeURI(platform, "north"))
	hash := must(password.HashGenerated(westToken, rand.Reader))(t)
	r, _ := NewRegistry(platform, nil)
	r.takeEdges(map[string]contract.EdgeCredential{
		"north": {Issuers: []string{root.pem}, KeyDigests: []string{keyOf(cert)}},
		"south": {Issuers: []string{other.pem}, KeyDigests: []string{keyOf(cert)}},
		"west":  {TokenHash: hash}, "used": {}, "odd": {TokenHash: "x"},
	})
	chain := func(c tls.Certificate) []*x509.Certificate { return []*x509.Certificate{c.Leaf} }
	// Whoever holds the approved key of one node cannot be another with it.
	_, _ = issue(t, &root, x509.Certificate{})
	as := func(by ca, edge string) []*x509.Certificate {
		template := x509.Certificate{URIs: []*url.URL{must(url.Parse(contract.EdgeURI(platform, edge)))(t)}, SerialNumber: cert.Leaf.SerialNumber,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		der := must(x509.CreateCertificate(rand.Reader, &template, by.cert, cert.Leaf.PublicKey, by.key))(t)
		return []*x509.Certificate{must(x509.ParseCertificate(der))(t)}
	}
	for name, c := range map[string]struct {
		req  Request
		want Reason
		now  time.Duration
	}{
		"north":                        {Request{Chain: chain(cert)}, "", 0},
		"north by its name":            {Request{Chain: chain(cert), Username: "north"}, "", 0},
		"north as south":               {Request{Chain: chain(cert), Username: "south"}, ReasonMixedIdentity, 0},
		"a day later":                  {Request{Chain: chain(cert)}, ReasonBadIssuer, 24 * time.Hour},
		"the CA of another node":       {Request{Chain: as(root, "south")}, ReasonBadIssuer, 0},
		"its own CA":                   {Request{Chain: as(other, "south")}, "", 0},
		"the right key, a foreign CA":  {Request{Chain: as(other, "north")}, ReasonBadIssuer, 0},
		"another key":                  {Request{Chain: chain(root.client(t, contract.EdgeURI(platform, "north")))}, ReasonBadKey, 0},
		"nobody":                       {Request{Chain: as(root, "east")}, ReasonNoEdge, 0},
		"a device":                     {Request{Chain: chain(root.client(t, contract.DeviceURI(platform, "north", "x")))}, ReasonBadURI, 0},
		"a server's certificate":       {Request{Chain: chain(root.server(t))}, ReasonBadURI, 0},
		"token":                        {Request{Username: "west", Password: westToken}, "", 0},
		"wrong token":                  {Request{Username: "west", Password: westToken + "x"}, ReasonBadToken, 0},
		"no token":                     {Request{Username: "west"}, ReasonBadToken, 0},
		"token of another":             {Request{Username: "north", Password: westToken}, ReasonNoToken, 0},
		"token that was used":          {Request{Username: "used", Password: ""}, ReasonNoToken, 0},
		"hash that is none":            {Request{Username: "odd", Password: "x"}, ReasonBadHash, 0},
		"nobody's token":               {Request{Username: "east", Password: westToken}, ReasonNoEdge, 0},
		"a name that is none":          {Request{Username: "west.x", Password: westToken}, ReasonBadUsername, 0},
		"nothing":                      {Request{}, ReasonNoCredential, 0},
		"a certificate and no account": {Request{Chain: chain(cert), Type: "mqtt"}, ReasonBadURI, 0},
	} {
		if c.req.Type == "" {
			c.req.Type = "websocket"
		}
		id, no := r.Identify(c.req, time.Now().Add(c.now), func(h password.Hash, plain string) (bool, bool) { return h.Verify(plain), true })
		switch {
		case no == nil && c.want != "":
			t.Errorf("%s: let in as %s", name, id.User())
		case no != nil && no.Reason != c.want:
			t.Errorf("%s: %s, want %q", name, no.Reason, c.want)
		case no == nil && !r.Stays(id.User(), ""):
			t.Errorf("%s: %s may not stay", name, id.User())
		}
	}
	for _, user := range []string{"edge/", "edge/north", "edge/north/", "edge/north/0", "edge/west/" + edgeStamp("west", "token", "", noIssuer), "edge/used/" + edgeStamp("used", "token", "", noIssuer),
		"edge/east/" + edgeStamp("east", "key", keyOf(cert), sha256.Sum256(root.cert.RawSubjectPublicKeyInfo))} {
		if r.Stays(user, "") {
			t.Errorf("%q stays", user)
		}
	}
}

func enrol(t testing.TB, nc *nats.Conn, edge string, req contract.EnrolRequest) contract.EnrolReply {
	t.Helper()
	body, _ := ask(t, nc, edge, contract.EdgeEnrol, must(json.Marshal(req))(t))
	var reply contract.EnrolReply
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return reply
}

// over gives a chain over a key, as the operator would have it issued.
func (w *edgeWorld) issued(edge string, key *ecdsa.PrivateKey) tls.Certificate {
	w.t.Helper()
	cert := w.root.client(w.t, contract.EdgeURI(platform, edge))
	cert.Leaf.PublicKey = key.Public()
	template := *cert.Leaf
	der := must(x509.CreateCertificate(rand.Reader, &template, w.root.cert, key.Public(), w.root.key))(w.t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))(w.t)}
}

// TestEnrolment walks a node from its token to its certificate, and past a thief.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	west, refused, err := w.byToken("west", westToken)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []contract.EdgeVerb{contract.EdgeUp, contract.EdgeHello, contract.EdgeTell, contract.EdgeGet, contract.EdgeAsk} {
		before := refused.count()
		if err := errors.Join(west.Publish(contract.EdgeSubject("west", v), nil), west.Flush()); err != nil || !soon(func() bool { return refused.count() > before }) {
			t.Errorf("a token may %s: %v", v, err)
		}
	}
	for _, v := range contract.EdgePushes() {
		before := refused.count()
		must(west.SubscribeSync(contract.EdgeSubject("west", v)))(t)
		if err := west.Flush(); err != nil || !soon(func() bool { return refused.count() > before }) {
			t.Errorf("a token may hear %s: %v", v, err)
		}
	}
	key := newKey(t)
	req := contract.EnrolRequest{CSR: csrFor(t, "west", key, nil)}
	if got := enrol(t, west, "west", req); got.State != contract.EnrolPending || got.Certificate != "" || got.BundleTrust != "" {
		t.Errorf("first request: %+v", got)
	}
	thief := contract.EnrolRequest{CSR: csrFor(t, "west", newKey(t), nil)}
	if got := enrol(t, west, "west", thief); got.State != contract.EnrolRefused || got.Reason != "KeyMismatch" {
		t.Errorf("another key: %+v", got)
	}
	await(t, "the request in the report", func() error {
		r, err := reportOf(w.broker.JetStream(), contract.RoleAuth)
		if e := r.Edges["west"]; err != nil || e.Enrolment == nil || e.Enrolment.CSR != req.CSR || e.KeyDigest != spki(t, key) {
			return fmt.Errorf("%+v, %w", e, err)
		}
		return nil
	}, func() { w.publish() })

	// Approved, then issued, then the token is gone.
	c := w.edges["west"]
	c.KeyDigests = []string{spki(t, key)}
	w.edges["west"] = c
	w.publish()
	if got := enrol(t, west, "west", req); got.State != contract.EnrolPending || got.Reason != enrolNotIssued {
		t.Errorf("approved: %+v", got)
	}
	cert := w.issued("west", key)
	c.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	c.Server = "server chain"
	w.edges["west"] = c
	w.publish()
	got := enrol(t, west, "west", req)
	if got.State != contract.EnrolIssued || got.Certificate != c.Certificate || got.Server != c.Server || !strings.Contains(got.BundleTrust, "PUBLIC KEY") {
		t.Errorf("issued: %+v", got)
	}
	c.TokenHash = ""
	w.edges["west"] = c
	w.publish()
	if err := west.FlushTimeout(5 * time.Second); err == nil {
		t.Error("the token's connection outlives the token")
	}
	if _, _, err := w.byToken("west", westToken); err == nil {
		t.Error("the token is taken twice")
	}
	// It renews with its certificate, and nobody else can.
	nc, _, err := w.node("west", cert)
	if err != nil {
		t.Fatal(err)
	}
	if got := enrol(t, nc, "west", req); got.State != contract.EnrolIssued {
		t.Errorf("renewal: %+v", got)
	}
	if got := enrol(t, nc, "west", thief); got.State != contract.EnrolRefused || got.Reason != "KeyMismatch" {
		t.Errorf("another key with the certificate: %+v", got)
	}
	// A new token lets a new key ask, one only, and the old one stays what it is until it is approved no more.
	c.TokenHash = must(password.HashGenerated("another token of west", rand.Reader))(t)
	w.edges["west"] = c
	w.publish()
	if _, _, err := w.byToken("west", westToken); err == nil {
		t.Error("the old token is taken")
	}
	again, _, err := w.byToken("west", "another token of west")
	if err != nil {
		t.Fatal(err)
	}
	next := contract.EnrolRequest{CSR: csrFor(t, "west", newKey(t), nil)}
	if got := enrol(t, nc, "west", req); got.State != contract.EnrolIssued {
		t.Errorf("the old key: %+v", got)
	}
	if got := enrol(t, again, "west", next); got.State != contract.EnrolPending {
		t.Errorf("a new key with a new token: %+v", got)
	}
	if got := enrol(t, again, "west", thief); got.State != contract.EnrolRefused {
		t.Errorf("a third key: %+v", got)
	}
	if got := enrol(t, nc, "west", req); got.State != contract.EnrolIssued {
		t.Errorf("the old key while the new one waits: %+v", got)
	}
}

// TestFirstKeyOutlivesARestart: a thief gains nothing from waiting until auth starts anew.
func TestFirstKeyOutlivesARestart(t *testing.T) {
	dir, now, c := t.TempDir(), time.Now(), contract.EdgeCredential{TokenHash: "t1"}
	b := must(openBook(dir))(t)
	for n, want := range map[string]bool{"k1": true} {
		if ok, err := b.ask("north", c, n, contract.EnrolRequest{}, now); ok != want || err != nil {
			t.Fatalf("%s: %v %v", n, ok, err)
		}
	}
	b = must(openBook(dir))(t)
	for _, s := range []struct {
		key  string
		c    contract.EdgeCredential
		want bool
	}{{"k2", c, false}, {"k1", c, true}, {"k2", contract.EdgeCredential{}, false}, {"k2", contract.EdgeCredential{TokenHash: "t2"}, true},
		{"k1", contract.EdgeCredential{TokenHash: "t2"}, false}, {"k1", contract.EdgeCredential{TokenHash: "t2", KeyDigests: []string{"k1"}}, true},
		{"k3", contract.EdgeCredential{TokenHash: "t2", KeyDigests: []string{"k1"}}, false}} {
		if ok, err := b.ask("north", s.c, s.key, contract.EnrolRequest{}, now); ok != s.want || err != nil {
			t.Errorf("%s with %+v: %v %v", s.key, s.c, ok, err)
		}
	}
}

// TestBundleOfAnEdgeNode: a node gets its own lease and what that names, and nothing else that is in the store.
func TestBundleOfAnEdgeNode(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	north, _ := w.mustNode("north")
	south, _ := w.mustNode("south")
	pushed := make(chan *nats.Msg, 16)
	must(north.ChanSubscribe(contract.EdgeSubject("north", contract.EdgeLease), pushed))(t)
	if err := north.Flush(); err != nil {
		t.Fatal(err)
	}
	theirs := w.cut("south", "shared", "souths")
	mine := w.cut("north", "shared", "norths")
	select {
	case m := <-pushed:
		await(t, "the lease", func() error {
			if got, no := ask(t, north, "north", contract.EdgeAsk, nil); got != string(m.Data) {
				return fmt.Errorf("%q %q, pushed was %q", got, no, m.Data)
			}
			return nil
		})
	case <-time.After(10 * time.Second):
		t.Fatal("no lease was pushed")
	}
	get := func(nc *nats.Conn, edge, object string) (string, string) {
		return ask(t, nc, edge, contract.EdgeGet, []byte(object))
	}
	if got, no := get(south, "south", mine[2]); got != "" || no != string(edgeNotNamed) { // the first thing it asks for
		t.Errorf("south got north's: %q, %q", got, no)
	}
	for _, object := range mine {
		want := must(must(w.broker.JetStream().ObjectStore(context.Background(), contract.BundleStore))(t).GetBytes(context.Background(), object))(t)
		if got, no := get(north, "north", object); got != string(want) || no != "" {
			t.Errorf("%s: %d bytes, %q; want %d bytes", object, len(got), no, len(want))
		}
	}
	center := contract.ObjectName("index", contract.Digest([]byte("center")))
	store := must(w.broker.JetStream().ObjectStore(context.Background(), contract.BundleStore))(t)
	must(store.PutString(context.Background(), center, "secret of the centre"))(t)
	for _, object := range []string{theirs[0], theirs[2], center, "", "index/", "shard/../" + mine[0], mine[0] + " ", strings.ToUpper(mine[0]), "x\r\nDizuo-Error: y", strings.Repeat("x", 100_000)} {
		if got, no := get(north, "north", object); got != "" || no != string(edgeNotNamed) {
			t.Errorf("%.40q: %q, %q", object, got, no)
		}
	}
	if got, no := get(south, "south", theirs[2]); got == "" {
		t.Errorf("south: %s", no)
	}
	// The revision before is still there while the next one is fetched; the one before that is not.
	w.cut("north", "shared")
	w.cut("north", "second")
	last := w.cut("north", "third")
	await(t, "the third revision", func() error {
		if got, no := get(north, "north", last[1]); got == "" {
			return errors.New(no)
		}
		return nil
	})
	if got, no := get(north, "north", theirs[2]); got != "" || no != string(edgeNotNamed) {
		t.Errorf("south's: %q %q", got, no)
	}
	// A lease that nobody trusted signed opens nothing, though it lies in the bucket; nor does one for another scope.
	w.lease("north", newSigner(t), strings.Replace(strings.TrimPrefix(theirs[0], "index/"), "-", ":", 1))
	await(t, "the forged lease", func() error {
		if got, no := get(north, "north", theirs[2]); got != "" {
			t.Fatalf("a forged lease opened %q", got)
		} else if no != edgeUnavailable {
			return errors.New(no)
		}
		return nil
	})
}

// TestLargeObjectOfAnEdgeNode comes in parts that fit a message; no place in the store opens what is not the node's own.
func TestLargeObjectOfAnEdgeNode(t *testing.T) {
	w := newEdgeWorld(t).open()
	north, _ := w.mustNode("north")
	south, _ := w.mustNode("south")
	mine, theirs := w.cut("north", "norths"), w.cut("south", "souths")
	want := make([]byte, 5<<20/2)
	must(rand.Read(want))(t)
	store := must(w.broker.JetStream().ObjectStore(t.Context(), contract.BundleStore))(t)
	must(store.PutBytes(t.Context(), mine[1], want))(t)
	part := func(nc *nats.Conn, edge, object, next string) *nats.Msg {
		t.Helper()
		m := nats.NewMsg(contract.EdgeSubject(edge, contract.EdgeGet))
		m.Data = []byte(object)
		m.Header.Set(contract.EdgeNextHeader, next)
		return must(nc.RequestMsg(m, 10*time.Second))(t)
	}
	await(t, "the lease", func() error {
		if no := part(north, "north", mine[1], "0").Header.Get(contract.EdgeErrorHeader); no != "" {
			return errors.New(no)
		}
		return nil
	})
	var got []byte
	next := "0"
	for parts := 0; len(got) < len(want); parts++ {
		m := part(north, "north", mine[1], next)
		if h := m.Header; h.Get(contract.EdgeErrorHeader) != "" || len(m.Data) == 0 || len(m.Data) > contract.MaxEdgePart || parts > 100 ||
			h.Get(contract.EdgeSizeHeader) != strconv.Itoa(len(want)) || h.Get(contract.EdgeDigestHeader) != contract.Digest(want) {
			t.Fatalf("part %d: %d bytes, %v", parts, len(m.Data), h)
		}
		got, next = append(got, m.Data...), m.Header.Get(contract.EdgeNextHeader)
	}
	if !bytes.Equal(got, want) {
		t.Error("the parts are not the object")
	}
	for _, at := range []string{"18446744073709551615", next} {
		if m := part(north, "north", mine[1], at); len(m.Data) != 0 || m.Header.Get(contract.EdgeErrorHeader) != "" {
			t.Errorf("at %s: %d bytes, %v", at, len(m.Data), m.Header)
		}
	}
	for _, at := range []string{"-1", "x", "18446744073709551616"} {
		if m := part(north, "north", mine[1], at); len(m.Data) != 0 || !strings.HasPrefix(m.Header.Get(contract.EdgeErrorHeader), "BadRequest") {
			t.Errorf("at %s: %d bytes, %v", at, len(m.Data), m.Header)
		}
	}
	own := must(store.GetBytes(t.Context(), theirs[1]))(t)
	for _, at := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", next} { // of all objects, north's first
		if m := part(south, "south", theirs[1], at); len(m.Data) > 0 && !bytes.Equal(m.Data, own) {
			t.Errorf("south got %d bytes that are not its own", len(m.Data))
		}
		if m := part(south, "south", mine[1], at); len(m.Data) > 0 || m.Header.Get(contract.EdgeErrorHeader) != string(edgeNotNamed) {
			t.Errorf("south got %d bytes of north's: %v", len(m.Data), m.Header)
		}
	}
	// A node of the version before asks for no part.
	if got, no := ask(t, north, "north", contract.EdgeGet, []byte(mine[1])); got != "" || no != string(edgeTooLarge) {
		t.Errorf("%d bytes, %q", len(got), no)
	}
}

// TestReportsOfEdgeNodes: what a node tells stands under its own key, whatever it says of itself, and within bounds.
func TestReportsOfEdgeNodes(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	north, _ := w.mustNode("north")
	tell := func(r contract.Report) string {
		_, no := ask(t, north, "north", contract.EdgeTell, must(json.Marshal(r))(t))
		return no
	}
	if no := tell(contract.Report{Role: contract.RoleEdge, Instance: "south", Sequence: 7, Edges: map[string]contract.EdgeReport{"south": {}}, Outbox: &contract.Outbox{Messages: 3}}); no != "" {
		t.Error(no)
	}
	for name, body := range map[string]string{"no JSON": "{", "another role": `{"role":"auth"}`, "large": `{"role":"edge","problem":"` + strings.Repeat("x", 70<<10) + `"}`} {
		if _, no := ask(t, north, "north", contract.EdgeTell, []byte(body)); no == "" {
			t.Errorf("%s: taken", name)
		}
	}
	reports := must(w.broker.JetStream().KeyValue(t.Context(), contract.ReportBucket))(t)
	key := contract.ReportKey(contract.RoleEdge, "north")
	entry := must(reports.Get(t.Context(), key))(t)
	var said contract.Report
	if err := json.Unmarshal(entry.Value(), &said); err != nil || said.Instance != "north" || said.Sequence != 7 || said.Outbox.Messages != 3 || said.Edges != nil {
		t.Errorf("%s, %v", entry.Value(), err)
	}
	if _, err := reports.Get(t.Context(), contract.ReportKey(contract.RoleEdge, "south")); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the neighbour's report: %v", err)
	}
	// A node that asks without end is told so, and its neighbour is served.
	busy := 0
	for range 20 {
		if _, no := ask(t, north, "north", contract.EdgeTell, []byte(`{"role":"edge"}`)); no == edgeBusy {
			busy++
		}
	}
	if busy == 0 {
		t.Error("no end to what a node may tell")
	}
	south, _ := w.mustNode("south")
	if _, no := ask(t, south, "south", contract.EdgeTell, []byte(`{"role":"edge"}`)); no != "" {
		t.Errorf("the neighbour: %s", no)
	}
	// A node that is gone leaves no report.
	delete(w.edges, "north")
	w.publish()
	await(t, "the report of north to go", func() error {
		if _, err := reports.Get(t.Context(), key); !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	}, func() { w.publish() })
	must(reports.Get(t.Context(), contract.ReportKey(contract.RoleEdge, "south")))(t)
}

// TestReportOfAuthStaysAMessage: however much nodes ask, the report of auth can be written, and who asks little is heard.
func TestReportOfAuthStaysAMessage(t *testing.T) {
	b := must(openBook(""))(t)
	now := time.Now()
	for n := range 400 {
		text := "x"
		if n%2 == 0 {
			text = strings.Repeat("x", contract.MaxEdgeEnrolment)
		}
		if ok, err := b.ask(fmt.Sprintf("edge-%d", n), contract.EdgeCredential{TokenHash: "t"}, "k", contract.EnrolRequest{CSR: text}, now); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	var r contract.Report
	b.report(&r, now)
	if raw := must(json.Marshal(r))(t); len(raw) > 1<<20-64<<10 {
		t.Errorf("%d bytes", len(raw))
	}
	for n := range 400 {
		if e, there := r.Edges[fmt.Sprintf("edge-%d", n)]; there && e.Enrolment == nil || !there && n%2 == 1 {
			t.Fatalf("edge-%d: %t, %+v", n, there, e)
		}
	}
}

// TestReportOfAnEdgeNodeHasItsPart: a node that says more than its part of the bucket is heard without its counts.
func TestReportOfAnEdgeNodeHasItsPart(t *testing.T) {
	r := contract.Report{Role: contract.RoleEdge, Sequence: 7, Fleets: map[string]contract.FleetReport{}, ScenarioCases: map[string]int64{"fire": 9}}
	for n := range 100 {
		r.Fleets[fmt.Sprintf("fleet-%d", n)] = contract.FleetReport{Violations: 1}
	}
	raw := must(json.Marshal(r))(t)
	for room, fleets := range map[int]int{64 << 10: 100, 2 << 10: 0} {
		var said contract.Report
		out := must(readEdgeReport("north", raw, room))(t)
		if err := json.Unmarshal(out, &said); err != nil || len(said.Fleets) != fleets || said.Sequence != 7 || len(out) > room || said.ScenarioCases != nil {
			t.Errorf("room %d: %d bytes, %d fleets, cases %v, %v", room, len(out), len(said.Fleets), said.ScenarioCases, err)
		}
	}
	if _, err := readEdgeReport("north", must(json.Marshal(contract.Report{Role: contract.RoleEdge, Version: strings.Repeat("x", 4<<10)}))(t), 2<<10); !errors.Is(err, edgeTooLarge) {
		t.Errorf("what is no count fills the bucket: %v", err)
	}
}

// TestRolesServeEdgeNodes: what auth and grid do for edge nodes is allowed to them, and no more of it.
func TestRolesServeEdgeNodes(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	grid, violations := w.watched(contract.UserGrid)
	for _, v := range []contract.EdgeVerb{contract.EdgeHello, contract.EdgeUp} {
		must(grid.Subscribe(contract.EdgeSubject("*", v), func(m *nats.Msg) { _ = m.Respond([]byte(m.Subject)) }))(t)
	}
	if err := grid.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"north", "south"} {
		nc, _ := w.mustNode(name)
		for _, v := range []contract.EdgeVerb{contract.EdgeHello, contract.EdgeUp} {
			if got, _ := ask(t, nc, name, v, make([]byte, contract.MaxEdgeBatchBytes)); got != contract.EdgeSubject(name, v) {
				t.Errorf("answer %q", got)
			}
		}
	}
	none(t, contract.UserGrid, violations)
	for user, subjects := range map[string][]string{
		contract.UserGrid:       {contract.EdgeSubject("north", contract.EdgeLease), contract.EdgeSubject("north", contract.EdgeUp)},
		contract.UserAuthBundle: {contract.EdgeSubject("north", contract.EdgeCommand), contract.EdgeSubject("north", contract.EdgeTell)},
		contract.UserGateway:    {contract.EdgeSubject("north", contract.EdgeCommand), "_R_.x.y"},
	} {
		nc, violations := w.watched(user)
		for _, subject := range subjects {
			before := violations.Load()
			if err := errors.Join(nc.Publish(subject, nil), nc.Flush()); err != nil || !soon(func() bool { return violations.Load() > before }) {
				t.Errorf("%s may publish to %s: %v", user, subject, err)
			}
		}
	}
}
