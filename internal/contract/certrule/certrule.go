// Package certrule says which device a certificate of a vendor's own CA is, by an expression that the vendor writes: it is checked when
// a fleet is compiled and evaluated when a device connects.
package certrule

import (
	"crypto/x509"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// costLimit of one evaluation, in CEL's units: a comparison is about 2.
	costLimit = 10_000
	// maxRule bounds the length of a rule in code points, maxNames the names of one kind that are read from a certificate.
	maxRule  = 2048
	maxNames = 32
)

// Rule is a compiled rule. It may be used by many goroutines at once.
type Rule struct{ program cel.Program }

// Compile compiles CEL over `cert`: `cert.uris` and `cert.dnsNames` (lists of strings), `cert.subject.serialNumber`,
// `cert.subject.organization` and `cert.subject.organizationalUnit` (lists), and `cert.serial` (lower-case hexadecimal). It must give a
// string. The common name is not there: RFC 6125, 2.3 asks not to identify by it.
func Compile(text string) (*Rule, error) {
	env, err := cel.NewEnv(cel.Variable("cert", cel.MapType(cel.StringType, cel.DynType)),
		cel.ParserExpressionSizeLimit(maxRule), ext.Strings(ext.StringsVersion(2)))
	if err != nil {
		return nil, err
	}
	checked, iss := env.Compile(text)
	if iss.Err() != nil {
		return nil, fmt.Errorf("no valid CEL: %w", iss.Err())
	}
	if out := checked.OutputType(); !out.IsExactType(cel.StringType) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("gives %s; write an expression that gives the device id, such as cert.subject.serialNumber", out)
	}
	if err := known(text); err != nil {
		return nil, err
	}
	program, err := env.Program(checked, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("no valid CEL: %w", err)
	}
	return &Rule{program}, nil
}

// known refuses what reads the common name, which a certificate here has not: the rule would never match, and nobody would know why.
func known(text string) error {
	if strings.Contains(text, "commonName") {
		return fmt.Errorf("reads the common name, which identifies nobody: write cert.subject.serialNumber, cert.uris or cert.dnsNames")
	}
	return nil
}

// Device gives the device that a certificate is, or an error where the rule gives none. The certificate must have been verified.
func (r *Rule) Device(cert *x509.Certificate) (string, error) {
	out, _, err := r.program.Eval(map[string]any{"cert": facts(cert)})
	if err != nil {
		return "", err
	}
	device, ok := out.(types.String)
	if !ok || !contract.ValidDevice(string(device)) {
		return "", fmt.Errorf("gives %s, want the id of a device: 1 to 64 letters, digits, _ or -", out.Type().TypeName())
	}
	return string(device), nil
}

func facts(cert *x509.Certificate) map[string]any {
	uris := []string{}
	for _, u := range cert.URIs[:min(len(cert.URIs), maxNames)] {
		uris = append(uris, u.String())
	}
	dns := cert.DNSNames[:min(len(cert.DNSNames), maxNames)]
	s := cert.Subject
	return map[string]any{
		"uris": uris, "dnsNames": append([]string{}, dns...), "serial": cert.SerialNumber.Text(16),
		"subject": map[string]any{"serialNumber": s.SerialNumber, "organization": append([]string{}, s.Organization...),
			"organizationalUnit": append([]string{}, s.OrganizationalUnit...)},
	}
}
