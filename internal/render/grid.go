package render

import (
	"fmt"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// grid gives the role grid: from the ingest log to cases. Its init container brings the database's schema up to date, and
// is the only one that holds the owner's password.
func (p platform) grid() []Object {
	config := p.nodeConfig(contract.RoleGrid)
	config.NATS = p.nats(contract.UserGrid)
	config.Grid = &contract.GridConfig{
		Address: fmt.Sprintf(":%d", portHTTPS), TLS: tlsFiles("dizuo-grid-tls"), WebhookSecretDir: secretsDir + "/webhooks",
		PlainWebhooks: true, // compile lets http through to Services of the cluster only
		Database:      p.database(contract.DatabaseUserGrid, secretsDir+"/database/grid", "dizuo-grid-tls"), DatabaseOwner: p.Database.Serves.Owner,
	}
	cm, text := p.configMap(config)
	certs := []string{"dizuo-grid-tls", roleSecret(contract.UserGrid)}
	migrate := p.container("migrate", []string{"migrate", "--config", configDir + "/node.yaml", "--passwords", secretsDir + "/owner"}, v1alpha1.ComponentGrid, "64Mi").
		WithVolumeMounts(mount("owner", secretsDir+"/owner")).WithVolumeMounts(tlsMounts(certs...)...)
	c := probed(p.container("grid", []string{"grid", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentGrid, "64Mi")).
		WithPorts(port("https", portHTTPS)).
		WithVolumeMounts(mount("state", stateDir), mount("database", secretsDir+"/database"), mount("webhooks", secretsDir+"/webhooks")).
		WithVolumeMounts(tlsMounts(certs...)...)
	volumes := append(nodeVolumes(contract.RoleGrid, certs...), emptyDir("state"),
		p.passwords("owner"), secretVolume("database", compile.SecretDatabase, "grid"), secretVolume("webhooks", compile.SecretWebhooks))
	caVolumes, caMounts := caVolume(p.Database.Serves)
	volumes = append(volumes, caVolumes...)
	migrate.WithVolumeMounts(caMounts...)
	c.WithVolumeMounts(caMounts...)
	template := p.podTemplate("grid", userNode, text, []*corev1ac.ContainerApplyConfiguration{migrate}, c, volumes...)
	s := p.Spec.Grid
	return []Object{cm, p.service("dizuo-grid", "grid", s.ServiceType, s.NodePort, s.Port, portHTTPS, "https"), p.deployment("grid", p.Replicas[v1alpha1.ComponentGrid], template)}
}
