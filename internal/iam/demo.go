package iam

// Throwaway values of Demo. They open nothing but an emulator.
const (
	DemoPantaRealm    = "panta-technology" // at /realms/panta-technology
	DemoPantaClient   = "panta-integration"
	DemoPantaSecret   = "panta-client-secret"
	DemoPantaUser     = "paula"
	DemoPantaPassword = "paulas-password"
	DemoPantaTenant   = "tenant-4711"

	DemoSwarmRealm = "master" // OCP's Swarm environments, at /auth/realms/master
	DemoK8sRealm   = "ocp"    // OCP's K8s environments, at /auth/realms/ocp
	DemoOCPClient  = "ocp"    // public, in both realms

	// DemoOCPUser of both OCP realms has a second factor, a personal access
	// token and the account roles.
	DemoOCPUser     = "olga"
	DemoOCPPassword = "olgas-password"
	// DemoTOTPSecret is base32, as an authenticator app takes it.
	DemoTOTPSecret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	DemoSwarmPAT   = "pat-swarm-olga"
	DemoK8sPAT     = "pat-k8s-olga"

	// DemoPlainUser of all three realms has neither a second factor nor the
	// account roles: its sessions cannot be listed.
	DemoPlainUser     = "peter"
	DemoPlainPassword = "peters-password"

	// DemoService is a confidential client of all three realms with a service
	// account, for client credentials.
	DemoService       = "service"
	DemoServiceSecret = "service-secret"

	DemoPartnerID     = "9b1e82a7-0a59-4e7e-add5-b9ffa37aade1"
	DemoPartnerSecret = "partner-secret"

	// DemoSessionLimit is that of the OCP realms.
	DemoSessionLimit = 5
)

// rawTOTPSecret is DemoTOTPSecret as the server stores it: the one of RFC 6238.
const rawTOTPSecret = "12345678901234567890"

// Demo returns Panta, both kinds of OCP environment, and the partner API.
func Demo() Config {
	return Config{
		Realms: []Realm{demoPanta(), demoOCP(DemoSwarmRealm, DemoSwarmPAT), demoOCP(DemoK8sRealm, DemoK8sPAT)},
		Partners: []Partner{
			{ClientID: DemoPartnerID, ClientSecret: DemoPartnerSecret, Scopes: []string{"bookings:create", "bookings:delete"}},
		},
	}
}

func demoPanta() Realm {
	return Realm{
		Name: DemoPantaRealm,
		API:  PantaAPI, Tenant: DemoPantaTenant,
		Scopes: []string{"reports"},
		Clients: []Client{
			{ID: DemoPantaClient, Secret: DemoPantaSecret, DirectGrants: true},
			demoService(),
		},
		Users: []User{
			{Username: DemoPantaUser, Password: DemoPantaPassword, AccountRoles: true},
			demoPlain(),
		},
	}
}

func demoOCP(name, pat string) Realm {
	return Realm{
		Name: name, PathPrefix: "/auth", Release: release("9.0.3"),
		API:          OCPAPI,
		SessionLimit: SessionLimit{Max: DemoSessionLimit, Behaviour: Deny},
		BruteForce:   true,
		Scopes:       []string{"reports"},
		Clients: []Client{
			{ID: DemoOCPClient, DirectGrants: true},
			demoService(),
		},
		Users: []User{
			{
				Username: DemoOCPUser, Password: DemoOCPPassword, TOTPSecret: rawTOTPSecret,
				AccountRoles: true, PersonalAccessToken: pat,
			},
			demoPlain(),
		},
	}
}

func demoService() Client {
	return Client{ID: DemoService, Secret: DemoServiceSecret, ServiceAccount: true}
}

func demoPlain() User {
	return User{Username: DemoPlainUser, Password: DemoPlainPassword}
}
