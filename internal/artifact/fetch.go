// Package artifact fetches inventories that fleets name by address and digest: a file over HTTPS, or a layer of an OCI artefact. The
// addresses are written by vendors, so what is fetched is bounded in size and time, goes to public addresses alone unless whoever runs
// the operator allows others, and no credentials follow a redirect to another host.
package artifact

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// MaxBytes of an artefact, as it is fetched.
const MaxBytes = 64 << 20

// Ref says what to fetch.
type Ref struct {
	// URL is https://host/path, or oci://host/repository; a tag or digest behind the repository is not looked at, for SHA256 names the layer.
	URL string
	// SHA256 of the file or of the layer, in lower-case hexadecimal.
	SHA256      string
	Credentials Credentials
}

// Credentials are sent to the host of the URL alone: Token, or Username and Password. The zero value sends none. A registry that asks
// for a token of its own names the place where Username and Password get one (distribution specification, token authentication).
type Credentials struct {
	Token, Username, Password string
}

// ErrDigest is the error of a fetch that found something else than the spec names.
var ErrDigest = errors.New("what stands there has another SHA-256 than the spec names: put the file there that belongs to the digest, or write the digest of the new file")

// Fetch gives the content of an artefact, gzipped in any case: as it was, or by us. Its digest is that of ref. Errors name what is
// wrong and hold neither credentials nor what a host answered beyond its status.
func (f *Fetcher) Fetch(ctx context.Context, ref Ref) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	body, err := f.open(ctx, ref)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = body.Close() }()
	return read(body, ref.SHA256)
}

// open begins a fetch.
func (f *Fetcher) open(ctx context.Context, ref Ref) (io.ReadCloser, error) {
	u, err := url.Parse(ref.URL)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New("the address cannot be read; write https://host/path or oci://host/repository")
	case u.User != nil:
		return nil, errors.New("credentials stand in the address; put them into a Secret and name it in secretRef")
	case u.Scheme == "https":
		return f.file(ctx, u, ref.Credentials)
	case u.Scheme == "oci":
		return f.layer(ctx, strings.TrimPrefix(ref.URL, "oci://"), ref)
	}
	return nil, errors.New("the scheme is not served; write https://host/path or oci://host/repository")
}

// file begins to read a file over HTTPS.
func (f *Fetcher) file(ctx context.Context, u *url.URL, c Credentials) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // the digest is that of the file, not of a transfer
	switch {
	case c.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.Token)
	case c.Username != "":
		req.SetBasicAuth(c.Username, c.Password)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, answered(resp.StatusCode)
	}
	return resp.Body, nil
}

// layer begins to read a layer of an OCI artefact, by its digest: the manifest could add nothing to that.
func (f *Fetcher) layer(ctx context.Context, name string, ref Ref) (io.ReadCloser, error) {
	at, err := registry.ParseReference(name)
	if err != nil {
		return nil, errors.New("the address cannot be read; write oci://host/repository, with or without a tag")
	}
	at.Reference = ""
	client := &auth.Client{Client: f.client, Credential: auth.StaticCredential(at.Host(), auth.Credential{
		Username: ref.Credentials.Username, Password: ref.Credentials.Password, AccessToken: ref.Credentials.Token,
	})}
	repo := &remote.Repository{Client: client, Reference: at, MaxMetadataBytes: 1 << 20}
	_, body, err := repo.Blobs().FetchReference(ctx, "sha256:"+ref.SHA256)
	if err != nil {
		return nil, cmp.Or(known(err), errors.New("the registry's answer cannot be used")) // others hold the address that it sent us to
	}
	return body, nil
}

// read takes the content in, within its bound, and checks the digest.
func read(body io.Reader, want string) ([]byte, error) {
	sum := sha256.New()
	counted := &io.LimitedReader{R: body, N: MaxBytes + 1}
	packed, err := pack(io.TeeReader(counted, sum))
	switch {
	case counted.N <= 0:
		return nil, fmt.Errorf("is larger than %d MiB; gzip it, or split the fleet", MaxBytes>>20)
	case err != nil:
		return nil, cmp.Or(known(err), errors.New("the host's answer broke off"))
	case digest(sum) != want:
		return nil, ErrDigest
	}
	return packed, nil
}

func digest(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// pack gives the content gzipped: a CSV shrinks to a tenth, and it is kept in memory.
func pack(in io.Reader) ([]byte, error) {
	var out bytes.Buffer
	head := make([]byte, 2)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	in = io.MultiReader(bytes.NewReader(head[:n]), in)
	if bytes.Equal(head, []byte{0x1f, 0x8b}) {
		_, err := io.Copy(&out, in)
		return out.Bytes(), err
	}
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(z, in); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}

func answered(status int) error {
	text := fmt.Sprintf("the host answers %d %s", status, http.StatusText(status))
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		text += "; put a token, or username and password, into a Secret and name it in secretRef"
	}
	return errors.New(text)
}

// plain takes from an error what may hold a signed address or an answer of the host, and gives the same text for the same cause.
func plain(err error) error { return cmp.Or(known(err), err) }

// known gives the text for a cause that has one, or nil.
func known(err error) error {
	var refused *refusedError
	var unsafe *redirectError
	var answer *errcode.ErrorResponse
	var name *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &unsafe):
		return unsafe
	case errors.As(err, &answer):
		return answered(answer.StatusCode)
	case errors.Is(err, errdef.ErrNotFound):
		return errors.New("the registry has no layer of that digest in the repository")
	case errors.As(err, &name):
		return errors.New("the name of the host cannot be resolved")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the host does not answer in time")
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return certificate(wrapped.Err)
	}
	return nil
}
