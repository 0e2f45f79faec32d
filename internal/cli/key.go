package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Keys of approvers and of staff tokens"}
	var out string
	var force bool
	create := &cobra.Command{
		Use: "new --out FILE", Short: "Make an ECDSA P-256 key, in a file that only its owner can read", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return err
			}
			raw, err := encodeKey(key)
			if err != nil {
				return err
			}
			return writeFile(out, raw, force)
		},
	}
	create.Flags().StringVar(&out, "out", "", "file to write")
	create.Flags().BoolVar(&force, "force", false, "overwrite a file that is there")
	_ = create.MarkFlagRequired("out")
	var key string
	public := &cobra.Command{
		Use: "public --key FILE", Short: "Print the public key, as Organization.spec.approvers and spec.personTokenKeys take it", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := readKey(key)
			if err != nil {
				return err
			}
			der, err := x509.MarshalPKIXPublicKey(k.Public())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Out, base64.StdEncoding.EncodeToString(der))
			return err
		},
	}
	public.Flags().StringVar(&key, "key", "", "private key (PEM)")
	_ = public.MarkFlagRequired("key")
	cmd.AddCommand(create, public)
	return cmd
}

// encodeKey gives a private key as PEM (PKCS #8).
func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// readKey reads a private key file.
func readKey(path string) (crypto.Signer, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parseKey reads a private key: PKCS #8, SEC 1 or PKCS #1, as PEM.
func parseKey(raw []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(raw)
		if block == nil {
			return nil, errors.New("holds no private key; write a PEM file, as `dizuo key new` makes it")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default: // parameters or certificates before the key
			raw = rest
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("private key: %w", err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("private key: %T cannot sign", key)
		}
		return signer, nil
	}
}

// parseCertificates reads every certificate of a PEM text, in order.
func parseCertificates(raw []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		block, rest := pem.Decode(raw)
		if block == nil {
			break
		}
		raw = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate; write a PEM file")
	}
	return out, nil
}
