package render

import (
	"fmt"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// gateway gives the role gateway. It has a volume because the chain of its decision log must survive the pod.
func (p platform) gateway() []Object {
	config := p.nodeConfig(contract.RoleGateway)
	config.NATS = p.nats(contract.UserGateway)
	auditDatabase := p.database(contract.DatabaseUserAudit, secretsDir+"/database/audit", "dizuo-gateway-tls")
	config.Gateway = &contract.GatewayConfig{
		Address: fmt.Sprintf(":%d", portHTTPS), TLS: tlsFiles("dizuo-gateway-tls"), LogDir: stateDir + "/decisions",
		Database:         p.database(contract.DatabaseUserGateway, secretsDir+"/database/gateway", "dizuo-gateway-tls"),
		PseudonymKeyFile: secretsDir + "/pseudonym/key",
		AuditDatabase:    &auditDatabase,
		AuditKeyFile:     tlsFiles(compile.SecretAudit).KeyFile, MaxUnshippedBytes: p.Spec.Gateway.Storage.Size.Value() * 6 / 10,
	}
	if p.maps() {
		config.Gateway.SourceDir = secretsDir + "/sources"
		config.Gateway.Vault = &contract.VaultClient{URL: fmt.Sprintf("https://%s:%d", p.host(serviceMap), portMap), TLS: tlsFiles(roleSecret(contract.UserGateway))}
	}
	cm, text := p.configMap(config)
	certs := []string{"dizuo-gateway-tls", roleSecret(contract.UserGateway), compile.SecretAudit}
	c := probed(p.container("gateway", []string{"gateway", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentGateway, "64Mi")).
		WithPorts(port("https", portHTTPS)).
		WithVolumeMounts(mount("data", stateDir), mount("database", secretsDir+"/database"), mount("pseudonym", secretsDir+"/pseudonym")).
		WithVolumeMounts(tlsMounts(certs...)...)
	volumes := append(nodeVolumes(contract.RoleGateway, certs...),
		secretVolume("database", compile.SecretDatabase, "gateway", "audit"), secretVolume("pseudonym", compile.SecretPseudonym, "key"))
	caVolumes, caMounts := caVolume(p.Database.Serves)
	volumes = append(volumes, caVolumes...)
	c.WithVolumeMounts(caMounts...)
	if p.maps() {
		c.WithVolumeMounts(mount("sources", secretsDir+"/sources"))
		volumes = append(volumes, secretVolume("sources", compile.SecretSources))
	}
	s := p.Spec.Gateway
	return []Object{
		cm,
		p.service("dizuo-gateway", "gateway", s.ServiceType, s.NodePort, s.Port, portHTTPS, "https"),
		p.statefulSet("gateway", "dizuo-gateway", p.Replicas[v1alpha1.ComponentGateway], p.podTemplate("gateway", userNode, text, nil, c, volumes...), "data", s.Storage),
	}
}
