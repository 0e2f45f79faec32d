package compile

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// maxCredential bounds a credential of an integration in bytes: those of all share one Secret with those of webhooks.
const maxCredential = 16 << 10

// integrations compiles the systems that cases are exchanged with, and gives their credentials by file name. One that is wrong is left out, and
// the others stay.
func integrations(c *problems, s *Snapshot) (map[string]contract.Integration, map[string][]byte) {
	out, files := map[string]contract.Integration{}, map[string][]byte{}
	for i, in := range s.Platform.Spec.Integrations {
		one := &problems{}
		doc, secrets := integration(one, s, fmt.Sprintf("spec.integrations[%d]", i), in)
		for _, p := range one.list {
			p.Partial = true
			c.list = append(c.list, p)
		}
		if len(one.list) > 0 {
			continue
		}
		out[in.Name] = doc
		maps.Copy(files, secrets)
	}
	if len(out) == 0 {
		return nil, files
	}
	return out, files
}

func integration(c *problems, s *Snapshot, at string, in v1alpha1.Integration) (contract.Integration, map[string][]byte) {
	doc := contract.Integration{
		DisplayName: in.DisplayName, URL: strings.TrimRight(in.URL, "/"), CABundle: in.CABundle, CaseClasses: slices.Clone(in.CaseClasses),
		Inbound: in.Direction != v1alpha1.ExchangeOutbound, Outbound: in.Direction != v1alpha1.ExchangeInbound,
	}
	if in.Method != v1alpha1.IntegrationPush && doc.Inbound {
		doc.PollSeconds = max(1, int64(in.Interval.Seconds()))
	}
	if in.Mode == v1alpha1.IntegrationMigrate {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, at+".mode", "Migrate is not served by this version; write Connect")
	}
	if in.Name == s.Platform.Name {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".name",
			fmt.Sprintf("%q is how the platform calls itself, so the origin of a case would not tell the two apart; write another name", in.Name))
	}
	checkIntegrationAddress(c, at, in)
	if in.Organization == nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".organization",
			"says who speaks for the system and which cases it may see, so it is needed; write {name: <Organization>}")
	} else {
		doc.Organization = in.Organization.Name
		if _, ok := s.Organizations.Get(doc.Organization); !ok {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonOrganizationNotFound, at+".organization.name",
				fmt.Sprintf("Organization %q is not of this platform; create it, or write one that is", doc.Organization))
		}
	}
	return doc, integrationSecrets(c, s, at, in, doc.Outbound || doc.PollSeconds > 0)
}

func checkIntegrationAddress(c *problems, at string, in v1alpha1.Integration) {
	u, err := url.Parse(in.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".url",
			"want an https URL with a host and a path only; credentials stand in the Secret of secretRef")
	}
	if in.CABundle != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(in.CABundle)) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".caBundle", "holds no PEM certificate; write the certificates of the CAs that the system's certificate stands under")
	}
}

// integrationSecrets gives the credentials of an integration by file name; needed says that Dizuo calls the system. The messages hold no content.
func integrationSecrets(c *problems, s *Snapshot, at string, in v1alpha1.Integration, needed bool) map[string][]byte {
	out := map[string][]byte{}
	if in.SecretRef == nil {
		if needed {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".secretRef",
				"says by which credentials Dizuo calls the system, so it is needed unless method is Push and direction Inbound; write {name: <Secret>} with the key token, or tls.crt and tls.key")
		}
		return out
	}
	field, name := at+".secretRef.name", s.Platform.Namespace+"/"+in.SecretRef.Name
	data := secret(c, s, s.Platform.Namespace, in.SecretRef.Name, field)
	if data == nil {
		return out
	}
	for _, key := range []string{contract.IntegrationToken, contract.IntegrationCertificate, contract.IntegrationKey} {
		if len(data[key]) > maxCredential {
			c.invalid(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf("key %q of Secret %s holds %d bytes; at most %d are taken", key, name, len(data[key]), maxCredential))
			return out
		}
		if len(data[key]) > 0 {
			out[contract.IntegrationFile(in.Name, key)] = data[key]
		}
	}
	cert, key, token := data[contract.IntegrationCertificate], data[contract.IntegrationKey], data[contract.IntegrationToken]
	_, err := tls.X509KeyPair(cert, key)
	switch {
	case len(cert)+len(key) == 0 && len(token) == 0:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf("Secret %s has neither the key %q nor %q and %q", name, "token", "tls.crt", "tls.key"))
	case len(cert)+len(key) > 0 && err != nil:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf("keys %q and %q of Secret %s are no certificate (PEM) and its key", "tls.crt", "tls.key", name))
	case strings.ContainsAny(strings.TrimSpace(string(token)), "\r\n\x00 "):
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf("key %q of Secret %s is no token: it has blanks or more than one line", "token", name))
	}
	return out
}
