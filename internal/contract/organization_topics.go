package contract

import (
	"fmt"
	"strings"
)

// OrganizationChannel is the last level of a topic of an organisation to which cases are delivered over MQTT.
type OrganizationChannel string

// Channels of an organisation: it hears cases, and says which messages it took.
const (
	OrganizationCases OrganizationChannel = "cases"
	OrganizationAcks  OrganizationChannel = "acks"
)

// OrganizationTopic gives the MQTT topic of an organisation's channel.
func OrganizationTopic(organization string, c OrganizationChannel) string {
	return "dizuo/v1/o/" + organization + "/" + string(c)
}

// OrganizationSubject gives the NATS subject that the server maps OrganizationTopic to.
func OrganizationSubject(organization string, c OrganizationChannel) string {
	return "dizuo.v1.o." + organization + "." + string(c)
}

// ParseOrganizationSubject reads organisation and channel from an organisation's subject, with or without IngestPrefix.
func ParseOrganizationSubject(subject string) (organization string, c OrganizationChannel, err error) {
	parts := strings.Split(strings.TrimPrefix(subject, IngestPrefix), ".")
	if len(parts) != 5 || parts[0] != "dizuo" || parts[1] != "v1" || parts[2] != "o" || !ValidFleet(parts[3]) {
		return "", "", fmt.Errorf("subject %q: want dizuo.v1.o.<organization>.<channel>", subject)
	}
	return parts[3], OrganizationChannel(parts[4]), nil
}

// OrganizationClientID gives the MQTT client id that an identity of an organisation must use. One that is made from a device's name holds no slash;
// the server takes no dot.
func OrganizationClientID(organization, identity string) string {
	return "organization/" + organization + "/" + identity
}

// ParseOrganizationURI reads organisation and identity from a URI as OrganizationURI gives it, whatever the namespace. It fails for any other.
func ParseOrganizationURI(platform, uri string) (organization, identity string, err error) {
	rest, ok := strings.CutPrefix(uri, "spiffe://"+TrustDomain(platform)+"/organization/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || !ValidFleet(parts[0]) || !ValidFleet(parts[1]) || !ValidFleet(parts[2]) {
		return "", "", fmt.Errorf("certificate URI %q: want spiffe://%s/organization/<namespace>/<organization>/<identity>", uri, TrustDomain(platform))
	}
	return parts[1], parts[2], nil
}
