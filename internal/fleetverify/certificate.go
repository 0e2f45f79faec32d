package fleetverify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"
)

// certificate checks the device's own certificate, without the platform.
func (r *run) certificate() {
	leaf, now := r.Device.Certificate.Leaf, r.Now()
	want := r.Connection.URIPrefix + r.Device.Name
	if len(leaf.URIs) == 1 && leaf.URIs[0].String() == want {
		r.passed("device.certificate-uri", "Its only URI is %s.", "唯一的 URI 为 %s。", want)
	} else {
		r.failed("device.certificate-uri", "Its URIs are %v; want %s alone.", "URI 为 %v，应仅为 %s。", leaf.URIs, want)
	}
	if wrong := usage(leaf); wrong != nil {
		r.set("device.certificate-usage", Failed, *wrong)
	} else {
		r.passed("device.certificate-usage", "Digital signature, client authentication, no CA; %s.", "数字签名、客户端认证、非 CA；%s。", leaf.PublicKeyAlgorithm)
	}
	span := []any{leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), days(leaf.NotAfter.Sub(now))}
	if !validAt(leaf, now).Equal(now) {
		r.failed("device.certificate-validity", "Valid from %s to %s only.", "有效期仅为 %s 至 %s。", span[:2]...)
	} else {
		r.passed("device.certificate-validity", "Valid from %s to %s; %d days are left.", "有效期 %s 至 %s，剩余 %d 天。", span...)
	}
	r.issuer(leaf)
}

// issuer verifies the chain.
func (r *run) issuer(leaf *x509.Certificate) {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: validAt(leaf, r.Now()), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range r.Device.Issuers {
		o.Roots.AddCert(c)
	}
	for _, der := range r.Device.Certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			o.Intermediates.AddCert(c)
		}
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		r.failed("device.certificate-issuer", "It does not stand under issuer.crt: %s.", "不能由 issuer.crt 验证：%s。", err)
		return
	}
	ca := chains[0][len(chains[0])-1]
	r.passed("device.certificate-issuer", "It stands under issuer.crt (SHA-256 %s). That this is the fleet's CA today is shown by the connection.",
		"由 issuer.crt（SHA-256 %s）验证通过。该 CA 是否为批次现行 CA，以接入结果为准。", Fingerprint(ca))
}

// validAt gives now, or the begin of a certificate that is not valid now: its validity is a check of its own, and its chain is judged
// apart from that.
func validAt(c *x509.Certificate, now time.Time) time.Time {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return c.NotBefore
	}
	return now
}

// usage says what a certificate of a device must not be, or nothing.
func usage(c *x509.Certificate) *Text {
	var wrong Text
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			wrong = say("The key is on curve %s.", "密钥所用曲线为 %s。", key.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			wrong = say("The RSA key has %d bits.", "RSA 密钥仅 %d 位。", key.N.BitLen())
		}
	}
	switch {
	case c.IsCA:
		wrong = say("It is the certificate of a CA.", "该证书为 CA 证书。")
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		wrong = say("It lacks the key usage digital signature.", "缺少密钥用途“数字签名”。")
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		wrong = say("It lacks the extended key usage client authentication.", "缺少扩展密钥用途“客户端认证”。")
	}
	if wrong == (Text{}) {
		return nil
	}
	return &wrong
}
