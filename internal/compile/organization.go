package compile

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/contract"
)

// OrganizationPlan is what an Organization becomes.
type OrganizationPlan struct {
	Document contract.Organization
	// Certificates that the platform issues to the organisation.
	Certificates []IssuedCertificate
	// Approvers that stand, to be recorded before anything rests on them; nil where there is nothing to record.
	Approvers *ApproversRecord
	// ApproversRefused says why the approvers in the spec do not stand; empty where they do.
	ApproversRefused string
	// WebhookSecret is the secret (whsec_...) that deliveries are signed with; empty without a webhook.
	WebhookSecret []byte
}

// IssuedCertificate is a client certificate of the platform's own CA.
type IssuedCertificate struct {
	// Name of the Certificate and of its Secret in the platform's namespace.
	Name string
	URI  string
	// Index of the identity in the spec.
	Index int
	// Duration as the spec says.
	Spec v1alpha1.IssuedCertificate
	// CopyTo is where the organisation finds the Secret, if that is another namespace or name.
	CopyTo types.NamespacedName
	// Issued is what cert-manager put into the Secret; empty until it did.
	Issued map[string][]byte
}

// Organization compiles an Organization of s.Platform.
func Organization(s *Snapshot, o *v1alpha1.Organization) (OrganizationPlan, Problems) {
	var c problems
	claimName(&c, o, s.Organizations)
	plan := OrganizationPlan{Document: contract.Organization{
		Namespace: o.Namespace, DisplayName: o.Spec.DisplayName, Type: string(o.Spec.Type), Jurisdiction: o.Spec.Jurisdiction, Duties: o.Spec.Duties,
		Clearance: string(o.Spec.EffectiveClearance()),
	}}
	checkJurisdiction(&c, s, o)
	actsInCompounds(s, o, &plan.Document)
	selfDeclared(s, o, func(field, reason, message string) { c.invalid(v1alpha1.ConditionAccepted, reason, field, message) })
	identities(&c, s, o, &plan)
	for i, k := range o.Spec.PersonTokenKeys {
		if d := heldKey(&c, s, o, fmt.Sprintf("spec.personTokenKeys[%d].publicKey", i), k.PublicKey); d != "" {
			plan.Document.PersonKeyDigests = append(plan.Document.PersonKeyDigests, d)
		}
	}
	checkApprovers(&c, s, o, &plan)
	if o.Spec.Delivery == v1alpha1.DeliveryMQTT {
		plan.Document.Delivery = contract.DeliveryMQTT
		if len(plan.Certificates) == 0 {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.delivery",
				"MQTT needs a certificate by which the broker knows the organisation: write an identity of type IssuedCertificate into spec.identities, or another delivery")
		}
	}
	if w := o.Spec.Webhook; w != nil {
		plan.Document.Webhook = &contract.Webhook{URL: w.URL, CABundle: w.CABundle}
		for _, e := range w.Events {
			plan.Document.Events = append(plan.Document.Events, string(e))
		}
		checkWebhookURL(&c, w.URL)
		plan.WebhookSecret = secretValue(&c, s, o.Namespace, w.SecretRef.Name, "secret", "spec.webhook.secretRef.name")
		if len(plan.WebhookSecret) > maxWebhookSecret {
			c.invalid(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, "spec.webhook.secretRef.name",
				fmt.Sprintf("key \"secret\" holds %d bytes; write a Standard Webhooks secret (whsec_ and base64) of at most %d", len(plan.WebhookSecret), maxWebhookSecret))
			plan.WebhookSecret = nil
		}
	}
	return plan, c.list
}

// maxWebhookSecret bounds a webhook secret in bytes: those of all organisations share one Secret.
const maxWebhookSecret = 256

// checkJurisdiction checks that an organisation answers only for divisions that its namespace may speak for: a county could
// otherwise make itself responsible for its neighbours.
func checkJurisdiction(c *problems, s *Snapshot, o *v1alpha1.Organization) {
	allowed := Divisions(s.Platform, o.Namespace)
	for i, prefix := range o.Spec.Jurisdiction {
		if longestPrefix(allowed, prefix) == 0 {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDivisionOutsidePlatform, fmt.Sprintf("spec.jurisdiction[%d]", i),
				fmt.Sprintf("%s lies under none of the divisions that GridPlatform %s gives namespace %s (%s)", prefix, s.Platform.Name, o.Namespace, strings.Join(allowed, ", ")))
		}
	}
}

// actsInCompounds fills in the compounds of a property company. They may be of any community of the platform, so one that says no jurisdiction is
// bounded by its namespace's divisions: a county's company does not act in its neighbour's. They are no jurisdiction: a node of before would take them
// for one, and show the company all of the county.
func actsInCompounds(s *Snapshot, o *v1alpha1.Organization, doc *contract.Organization) {
	for _, k := range o.Spec.Compounds {
		doc.Compounds = append(doc.Compounds, k.Community+"/"+k.Compound)
	}
	slices.Sort(doc.Compounds)
	if len(doc.Compounds) > 0 && len(doc.Jurisdiction) == 0 {
		doc.Within = Divisions(s.Platform, o.Namespace)
	}
}

func identities(c *problems, s *Snapshot, o *v1alpha1.Organization, plan *OrganizationPlan) {
	for i, id := range o.Spec.Identities {
		at := fmt.Sprintf("spec.identities[%d]", i)
		switch id.Type {
		case v1alpha1.IdentityPublicKey:
			if d := heldKey(c, s, o, at+".publicKey", id.PublicKey); d != "" {
				plan.Document.KeyDigests = append(plan.Document.KeyDigests, d)
			}
		case v1alpha1.IdentityOIDC:
			if found, ok := tokenIdentity(c, s, at, id.OIDC); ok {
				plan.Document.OIDC = append(plan.Document.OIDC, found)
			}
		default:
			c.requires(s, GroupCertManager, at+".type", "which issues the certificate")
			cert := IssuedCertificate{
				Name: OrganizationCertificateName(o.Name, id.Name), Index: i, URI: contract.OrganizationURI(s.Platform.Name, o.Namespace, o.Name, id.Name),
				CopyTo: types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-" + id.Name + "-tls"},
			}
			if id.IssuedCertificate != nil {
				cert.Spec = *id.IssuedCertificate
				if cert.Spec.SecretName != "" {
					cert.CopyTo.Name = cert.Spec.SecretName
				}
			}
			cert.Issued = issued(s, cert.Name)
			plan.Certificates = append(plan.Certificates, cert)
			plan.Document.URIs = append(plan.Document.URIs, cert.URI)
		}
	}
}

// OrganizationCertificateName names the Certificate of an organisation's identity, and its Secret, in the platform's namespace.
func OrganizationCertificateName(organization, identity string) string {
	return "organization." + organization + "." + identity // neither part can hold a dot
}

// keyDigest checks a public key and gives the digest of its SPKI.
func keyDigest(c *problems, field, text string) string {
	if _, err := approval.ParsePublicKey(text); err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidKey, field,
			err.Error()+"; write the base64 of the key's SPKI, as `dizuo key public` prints it")
		return ""
	}
	return digestOfKey(text)
}

// checkWebhookURL asks for https, except inside the cluster, where the name ends in .svc.
func checkWebhookURL(c *problems, text string) {
	u, err := url.Parse(text)
	inside := err == nil && (strings.HasSuffix(u.Hostname(), ".svc") || strings.HasSuffix(u.Hostname(), ".svc.cluster.local"))
	if err != nil || u.Host == "" || (u.Scheme != "https" && !(u.Scheme == "http" && inside)) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.webhook.url",
			fmt.Sprintf("%q: want an https URL, or http to a Service inside the cluster (<service>.<namespace>.svc)", text))
	}
}

// secretValue gives one key of a Secret, or a problem that says why it cannot be had.
func secretValue(c *problems, s *Snapshot, namespace, name, key, field string) []byte {
	data := secret(c, s, namespace, name, field)
	if data == nil {
		return nil
	}
	if len(data[key]) == 0 {
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field,
			fmt.Sprintf("Secret %s/%s has no key %q", namespace, name, key))
	}
	return data[key]
}

// secret gives the data of a Secret, or nil and a problem.
func secret(c *problems, s *Snapshot, namespace, name, field string) map[string][]byte {
	if s.Namespaces[namespace].SecretsRefused {
		c.waiting(v1alpha1.ConditionSecretsAdmitted, v1alpha1.ReasonSecretNotAdmitted, field,
			fmt.Sprintf("Dizuo may not read Secrets in namespace %s: its owner admits it with `dizuo admit %s`", namespace, namespace))
		return nil
	}
	data := s.Secrets[types.NamespacedName{Namespace: namespace, Name: name}]
	if data == nil {
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretNotFound, field,
			fmt.Sprintf("Secret %s/%s is not there; create it", namespace, name))
	}
	return data
}

// issued gives the keys of a certificate's Secret in the platform's namespace, or nothing until cert-manager has filled it.
func issued(s *Snapshot, name string) map[string][]byte {
	data := s.Secrets[types.NamespacedName{Namespace: s.Platform.Namespace, Name: name}]
	if len(data["tls.crt"]) == 0 || len(data["tls.key"]) == 0 {
		return nil
	}
	return map[string][]byte{"tls.crt": data["tls.crt"], "tls.key": data["tls.key"], "ca.crt": data["ca.crt"]}
}
