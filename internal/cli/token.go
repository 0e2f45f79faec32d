package cli

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// tokenFlags say for whom a token speaks, and with what it is signed.
type tokenFlags struct {
	kube                        kubeFlags
	organization, subject, role string
	platform, cert, key, secret string
	life                        time.Duration
}

func (f *tokenFlags) add(cmd *cobra.Command) {
	f.kube.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.organization, "organization", "", "Organization that vouches for the person")
	flags.StringVar(&f.subject, "subject", "", "pseudonym of the person, such as an account id; never a name")
	flags.StringVar(&f.role, "role", "", "role of the person, such as GridWorker")
	flags.StringVar(&f.platform, "platform", "", "GridPlatform, as namespace/name")
	flags.StringVar(&f.cert, "cert", "", "certificate of the organisation (PEM); without one the bare public key goes into the token")
	flags.StringVar(&f.key, "key", "", "key of the organisation (PEM)")
	flags.StringVar(&f.secret, "secret", "", "Secret with certificate and key in the cluster, as namespace/name")
	flags.DurationVar(&f.life, "life", contract.MaxPersonTokenLife, "life of the token, at most 15m")
}

func (a *app) tokenCommand() *cobra.Command {
	var f tokenFlags
	var audience string
	cmd := &cobra.Command{
		Use:   "token --organization O --subject S --role R --for grid|gateway|vault --platform NS/NAME (--key FILE [--cert FILE] | --secret NS/NAME)",
		Short: "Print a token by which an organisation vouches for one of its people",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			role := contract.Role(audience)
			if role != contract.RoleGrid && role != contract.RoleGateway && role != contract.RoleVault {
				return usage("--for %q: write grid, gateway or vault", audience)
			}
			token, err := a.token(cmd.Context(), &f, role)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Out, token)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&audience, "for", "", "what the token is for: grid, gateway or vault")
	for _, name := range []string{"organization", "subject", "role", "for", "platform"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsOneRequired("key", "secret")
	cmd.MarkFlagsMutuallyExclusive("key", "secret")
	return cmd
}

// token signs a token for one role of the platform.
func (a *app) token(ctx context.Context, f *tokenFlags, role contract.Role) (string, error) {
	at, err := namespaced("--platform", f.platform)
	if err != nil {
		return "", err
	}
	key, chain, err := a.identity(ctx, f)
	if err != nil {
		return "", err
	}
	return person.Sign(key, chain, f.organization, f.subject, f.role, contract.PersonAudience(at.Namespace, at.Name, role), a.now(), f.life)
}

// identity reads key and certificate of an organisation.
func (a *app) identity(ctx context.Context, f *tokenFlags) (crypto.Signer, []*x509.Certificate, error) {
	if f.secret != "" {
		data, err := a.secret(ctx, &f.kube, f.secret)
		if err != nil {
			return nil, nil, err
		}
		key, err := parseKey(data["tls.key"])
		if err != nil {
			return nil, nil, fmt.Errorf("Secret %s: tls.key: %w", f.secret, err)
		}
		chain, err := parseCertificates(data["tls.crt"])
		if err != nil {
			return nil, nil, fmt.Errorf("Secret %s: tls.crt: %w", f.secret, err)
		}
		return key, chain, nil
	}
	key, err := readKey(f.key)
	if err != nil || f.cert == "" {
		return key, nil, err
	}
	raw, err := os.ReadFile(f.cert)
	if err != nil {
		return nil, nil, err
	}
	chain, err := parseCertificates(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.cert, err)
	}
	return key, chain, nil
}
