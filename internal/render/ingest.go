package render

import (
	"fmt"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// portDoor takes messages of clouds.
const portDoor = compile.CloudPort

// ingest gives the role ingest: behind EMQX, for clouds, or for both. Its pods keep their names, for each holds a session in EMQX under
// its own.
func (p platform) ingest() []Object {
	if !p.Ingests() {
		return nil
	}
	config := p.nodeConfig(contract.RoleIngest)
	config.NATS, config.Ingest = p.nats(contract.UserIngest), &contract.IngestConfig{}
	certs := []string{secretIngestTLS, roleSecret(contract.UserIngest)}
	var out []Object
	c := probed(p.container("ingest", []string{"ingest", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentIngest, "64Mi")).
		WithVolumeMounts(mount("state", stateDir)).WithVolumeMounts(tlsMounts(certs...)...)
	if p.EMQX != nil {
		config.Ingest.Hook = &contract.IngestHook{Address: fmt.Sprintf(":%d", portHook), TLS: tlsFiles(secretIngestTLS),
			MQTT: contract.NATSConfig{URL: fmt.Sprintf("ssl://%s:%d", p.host(compile.ObjectEMQX), portRoles), TLS: tlsFiles(roleSecret(contract.UserIngest))}}
		c.WithPorts(port("grpc", portHook))
		out = append(out, p.service("dizuo-ingest", componentIngest, v1alpha1.ServiceClusterIP, nil, portHook, portHook, "grpc"))
	}
	if p.Clouds { // a Service of its own, for what EMQX calls is nobody else's to reach
		config.Ingest.HTTP = &contract.IngestHTTP{Address: fmt.Sprintf(":%d", portDoor), TLS: tlsFiles(secretIngestTLS)}
		c.WithPorts(port("https", portDoor))
		out = append(out, p.service(compile.ServiceClouds, componentIngest, p.Spec.Broker.Listener.ServiceType, nil, portDoor, portDoor, "https"))
	}
	cm, text := p.configMap(config)
	volumes := append(nodeVolumes(contract.RoleIngest, certs...), emptyDir("state"))
	set := p.statefulSet(componentIngest, "dizuo-ingest", p.Replicas[v1alpha1.ComponentIngest], p.podTemplate(componentIngest, userNode, text, nil, c, volumes...), "", v1alpha1.StorageSpec{})
	set.Spec.VolumeClaimTemplates = nil
	return append(out, cm, set)
}
