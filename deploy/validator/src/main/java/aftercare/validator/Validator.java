package aftercare.validator;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.hl7.fhir.r5.elementmodel.Manager.FhirFormat;
import org.hl7.fhir.r5.model.Resource;
import org.hl7.fhir.r5.utils.validation.constants.ReferenceValidationPolicy;
import org.hl7.fhir.utilities.settings.FhirSettings;
import org.hl7.fhir.utilities.validation.ValidationMessage;
import org.hl7.fhir.utilities.validation.ValidationMessage.IssueSeverity;
import org.hl7.fhir.utilities.validation.ValidationMessage.IssueType;
import org.hl7.fhir.utilities.validation.ValidationMessage.Source;
import org.hl7.fhir.validation.ValidationEngine;
import org.hl7.fhir.validation.instance.InstanceValidator;
import org.hl7.fhir.validation.instance.advisor.BasePolicyAdvisorForFullValidation;
import org.hl7.fhir.validation.service.model.InstanceValidatorParameters;

/**
 * The official HL7 validator as a process: one line in is one resource (JSON), one line out is the list of its issues.
 *
 * <p>It never uses a network, so references are not followed and codes of systems it has no definition of are a warning.
 * It ends when its input ends. What the validator's own classes print goes to the error stream.
 */
public class Validator {
    private static final String R4 = "4.0.1";
    private static final ObjectMapper MAPPER = new ObjectMapper();

    /** {@code Validator FOLDER...}: loads the definitions (*.json) in the folders, says it is ready, then answers. */
    public static void main(String[] folders) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        FhirSettings.setProhibitNetworkAccess(true);
        // One for all: each of its own would load the core package once more to check the context of an extension.
        InstanceValidator validator = engine(folders).getValidator(FhirFormat.JSON);
        say(answers, Map.of("ready", true));
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            say(answers, issues(validator, line));
        }
    }

    private static ValidationEngine engine(String[] folders) throws Exception {
        ValidationEngine engine = new ValidationEngine.ValidationEngineBuilder()
                .withVersion(R4)
                .withNoTerminologyServer()
                .withDefaultInstanceValidatorParameters(
                        new InstanceValidatorParameters()
                                .setAssumeValidRestReferences(true)
                                .setAllowExampleUrls(true))
                .fromSource("hl7.fhir.r4.core#" + R4);
        for (String folder : folders) {
            try (DirectoryStream<Path> files = Files.newDirectoryStream(Path.of(folder), "*.json")) {
                for (Path file : files) {
                    byte[] content = Files.readAllBytes(file);
                    Resource resource = engine.getIgLoader().loadResourceByVersion(R4, content, file.toString());
                    engine.getContext().cacheResource(resource);
                }
            }
        }
        engine.setPolicyAdvisor(new BasePolicyAdvisorForFullValidation(ReferenceValidationPolicy.IGNORE, Set.of()));
        engine.prepare();
        return engine;
    }

    private static List<Map<String, String>> issues(InstanceValidator validator, String resource) throws IOException {
        List<ValidationMessage> messages = new ArrayList<>();
        try {
            InputStream content = new ByteArrayInputStream(resource.getBytes(StandardCharsets.UTF_8));
            validator.validate(null, messages, content, FhirFormat.JSON);
        } catch (RuntimeException fault) {
            // One resource it cannot cope with must not end the process, nor pass for valid.
            fault.printStackTrace();
            messages.add(new ValidationMessage(
                    Source.InstanceValidator, IssueType.EXCEPTION, "", fault.toString(), IssueSeverity.FATAL));
        }
        return messages.stream().map(Validator::issue).toList();
    }

    private static Map<String, String> issue(ValidationMessage message) {
        return Map.of(
                "severity", message.getLevel().toCode(),
                "location", Objects.requireNonNullElse(message.getLocation(), ""),
                "message", message.getMessage());
    }

    private static void say(PrintStream answers, Object line) throws IOException {
        answers.println(MAPPER.writeValueAsString(line));
    }
}
