import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

import org.springframework.vault.authentication.TokenAuthentication;
import org.springframework.vault.client.VaultEndpoint;
import org.springframework.vault.core.VaultTemplate;
import org.springframework.vault.core.lease.LeaseEndpoints;
import org.springframework.vault.core.lease.SecretLeaseContainer;
import org.springframework.vault.core.lease.event.SecretLeaseCreatedEvent;

/** Shows the access token of a rotating secret in a file: Client PATH FILE. */
public class Client {
    public static void main(String[] args) throws Exception {
        VaultTemplate vault = new VaultTemplate(VaultEndpoint.from(URI.create(System.getenv("VAULT_ADDR"))),
                new TokenAuthentication(System.getenv("VAULT_TOKEN")));
        SecretLeaseContainer container = new SecretLeaseContainer(vault);
        container.setLeaseEndpoints(LeaseEndpoints.Leases);
        container.addLeaseListener(event -> {
            if (event instanceof SecretLeaseCreatedEvent created) {
                show(args[1], (String) created.getSecrets().get("access_token"));
            }
        });
        container.addErrorListener((event, error) -> error.printStackTrace());
        container.requestRotatingSecret(args[0]);
        container.afterPropertiesSet();
        container.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                container.destroy(); // revokes what it holds
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        Thread.currentThread().join();
    }

    private static void show(String file, String token) {
        try {
            Path written = Files.writeString(Path.of(file + ".new"), token);
            Files.move(written, Path.of(file), StandardCopyOption.ATOMIC_MOVE);
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }
}
