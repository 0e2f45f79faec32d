package render

import (
	"fmt"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// auth gives the role auth, which answers the broker's question who a device is and what it may do.
func (p platform) auth() []Object {
	config := p.nodeConfig(contract.RoleAuth)
	config.NATS = p.nats(contract.UserAuthBundle)
	config.Auth = &contract.AuthConfig{Callout: *p.nats(contract.UserAuth), System: *p.nats(contract.UserAuthSystem), CalloutSeedFile: secretsDir + "/callout/seed"}
	certs := []string{roleSecret(contract.UserAuth), roleSecret(contract.UserAuthBundle), roleSecret(contract.UserAuthSystem)}
	if p.EMQX != nil {
		certs = append(certs, secretAuthTLS)
		config.Auth.EMQX = &contract.EMQXConfig{Address: fmt.Sprintf(":%d", portAuth), TLS: tlsFiles(secretAuthTLS), API: contract.EMQXAPI{
			Nodes: int(p.EMQX.Replicas + p.EMQX.Replicants), URL: fmt.Sprintf("https://%s:%d", p.host(compile.ObjectEMQX), portDashboard), CAFile: tlsFiles(secretAuthTLS).CAFile,
			KeyFile: secretsDir + "/emqx/key", SecretFile: secretsDir + "/emqx/secret"}}
	}
	cm, text := p.configMap(config)
	c := probed(p.container("auth", []string{"auth", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentAuth, "48Mi")).
		WithVolumeMounts(mount("state", stateDir), mount("callout", secretsDir+"/callout")).WithVolumeMounts(tlsMounts(certs...)...)
	volumes := append(nodeVolumes(contract.RoleAuth, certs...), emptyDir("state"), secretVolume("callout", compile.SecretCallout, "seed"))
	if p.EMQX != nil {
		c.WithPorts(port("https", portAuth)).WithVolumeMounts(mount("emqx", secretsDir+"/emqx"))
		volumes = append(volumes, secretVolume("emqx", compile.SecretEMQX, "key", "secret"))
	}
	return []Object{cm, p.deployment("auth", p.Replicas[v1alpha1.ComponentAuth], p.podTemplate("auth", userNode, text, nil, c, volumes...))}
}
