package compile

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/contract"
)

// audited tells the gateways who witnesses their decision logs, and everybody by which key they sign checkpoints: none until
// cert-manager has issued it.
func audited(s *Snapshot, plan *PlatformPlan) {
	for _, w := range s.Platform.Spec.AuditWitnesses {
		plan.Document.Witnesses = append(plan.Document.Witnesses, contract.Witness{Name: w.Name, URL: w.URL, PublicKey: w.PublicKey, CABundle: w.CABundle})
	}
	block, _ := pem.Decode(s.Secrets[types.NamespacedName{Namespace: s.Platform.Namespace, Name: SecretAudit}]["tls.crt"])
	if block == nil {
		return
	}
	if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
		plan.Document.AuditKeys = []string{base64.StdEncoding.EncodeToString(cert.RawSubjectPublicKeyInfo)}
	}
}
