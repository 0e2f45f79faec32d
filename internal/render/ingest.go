package render

import (
	"fmt"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// ingest gives the role ingest. Its pods keep their names, for each holds a session in EMQX under its own.
func (p platform) ingest() []Object {
	config := p.nodeConfig(contract.RoleIngest)
	config.NATS = p.nats(contract.UserIngest)
	config.Ingest = &contract.IngestConfig{HookAddress: fmt.Sprintf(":%d", portHook), TLS: tlsFiles(secretIngestTLS),
		MQTT: contract.NATSConfig{URL: fmt.Sprintf("ssl://%s:%d", p.host(compile.ObjectEMQX), portRoles), TLS: tlsFiles(roleSecret(contract.UserIngest))}}
	cm, text := p.configMap(config)
	certs := []string{secretIngestTLS, roleSecret(contract.UserIngest)}
	c := probed(p.container("ingest", []string{"ingest", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentIngest, "64Mi")).
		WithPorts(port("grpc", portHook)).WithVolumeMounts(mount("state", stateDir)).WithVolumeMounts(tlsMounts(certs...)...)
	volumes := append(nodeVolumes(contract.RoleIngest, certs...), emptyDir("state"))
	set := p.statefulSet(componentIngest, "dizuo-ingest", p.Replicas[v1alpha1.ComponentIngest], p.podTemplate(componentIngest, userNode, text, nil, c, volumes...), "", v1alpha1.StorageSpec{})
	set.Spec.VolumeClaimTemplates = nil
	return []Object{cm, set}
}
