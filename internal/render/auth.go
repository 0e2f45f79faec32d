package render

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// auth gives the role auth, which answers the broker's question who a device is and what it may do.
func (p platform) auth() []Object {
	config := p.nodeConfig(contract.RoleAuth)
	config.NATS = p.nats(contract.UserAuthBundle)
	config.Auth = &contract.AuthConfig{Callout: *p.nats(contract.UserAuth), System: *p.nats(contract.UserAuthSystem), CalloutSeedFile: secretsDir + "/callout/seed"}
	cm, text := p.configMap(config)
	certs := []string{roleSecret(contract.UserAuth), roleSecret(contract.UserAuthBundle), roleSecret(contract.UserAuthSystem)}
	c := probed(p.container("auth", []string{"auth", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentAuth, "48Mi")).
		WithVolumeMounts(mount("state", stateDir), mount("callout", secretsDir+"/callout")).WithVolumeMounts(tlsMounts(certs...)...)
	volumes := append(nodeVolumes(contract.RoleAuth, certs...), emptyDir("state"), secretVolume("callout", compile.SecretCallout, "seed"))
	return []Object{cm, p.deployment("auth", p.Replicas[v1alpha1.ComponentAuth], p.podTemplate("auth", userNode, text, nil, c, volumes...))}
}
