package render

import (
	"fmt"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// secretReceipts holds the key by which the vault signs receipts.
const secretReceipts = "dizuo-vault-receipts"

// serviceMap is where the gateway asks the vault whose the rows of providers' own databases are, on portMap. Nobody else reaches it.
const (
	serviceMap = "dizuo-vault-map"
	portMap    = 8446
)

// maps says whether there are providers' own databases, whose keys of persons the vault maps.
func (p platform) maps() bool { return len(p.SourceDSNs) > 0 }

// vault gives the role vault. It is a pod of its own, so that nothing that speaks for organisations holds its key or its database user; it
// keeps nothing itself. While the database moves it stands still.
func (p platform) vault() []Object {
	config := p.nodeConfig(contract.RoleVault)
	config.NATS = p.nats(contract.UserVault)
	config.Vault = &contract.VaultConfig{
		Address: fmt.Sprintf(":%d", portHTTPS), TLS: tlsFiles("dizuo-vault-tls"), Receipts: tlsFiles(secretReceipts),
		Database: p.database(contract.DatabaseUserVault, secretsDir+"/database/vault", "dizuo-vault-tls"),
		KeyFile:  secretsDir + "/vault/key", PseudonymKeyFile: secretsDir + "/pseudonym/key",
	}
	if p.maps() {
		config.Vault.MapAddress = fmt.Sprintf(":%d", portMap)
	}
	cm, text := p.configMap(config)
	certs := []string{"dizuo-vault-tls", secretReceipts, roleSecret(contract.UserVault)}
	c := probed(p.container("vault", []string{"vault", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentVault, "64Mi")).
		WithPorts(port("https", portHTTPS)).
		WithVolumeMounts(mount("state", stateDir), mount("database", secretsDir+"/database"), mount("vault", secretsDir+"/vault"), mount("pseudonym", secretsDir+"/pseudonym")).
		WithVolumeMounts(tlsMounts(certs...)...)
	volumes := append(nodeVolumes(contract.RoleVault, certs...), emptyDir("state"),
		secretVolume("database", compile.SecretDatabase, "vault"), secretVolume("vault", compile.SecretVault, "key"), secretVolume("pseudonym", compile.SecretPseudonym, "key"))
	caVolumes, caMounts := caVolume(p.Database.Serves)
	c.WithVolumeMounts(caMounts...)
	var out []Object
	if p.maps() {
		c.WithPorts(port("map", portMap))
		out = append(out, p.service(serviceMap, "vault", v1alpha1.ServiceClusterIP, nil, portMap, portMap, "map"))
	}
	return append(out,
		cm, p.service("dizuo-vault", "vault", v1alpha1.ServiceClusterIP, nil, 8443, portHTTPS, "https"),
		p.deployment("vault", vaults(p.PlatformPlan), p.podTemplate("vault", userNode, text, nil, c, append(volumes, caVolumes...)...)),
	)
}

// vaults gives the number of its pods: one, with both profiles, and none where the gateway stands still.
func vaults(plan compile.PlatformPlan) int32 { return min(1, plan.Replicas[v1alpha1.ComponentGateway]) }

// receiptCertificate is what receipts are signed with. Its certificate goes along, so that who has one needs the platform's CA alone.
func (p platform) receiptCertificate() Object {
	return p.certificate(secretReceipts, leaf(secretReceipts, issuerPlatform, year).WithCommonName(contract.ErasureSigner(p.Name)).WithUsages(cmv1.UsageDigitalSignature))
}
