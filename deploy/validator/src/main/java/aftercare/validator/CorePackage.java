package aftercare.validator;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.hl7.fhir.r4.formats.JsonParser;
import org.hl7.fhir.r4.formats.ParserBase;
import org.hl7.fhir.r4.formats.XmlParser;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.Resource;

/**
 * Builds the FHIR packages the validator insists on in a package cache, from what is on Maven Central.
 *
 * <p>{@code hl7.fhir.r4.core} is FHIR's own definitions, with their snapshots. {@code hl7.fhir.xver-extensions} only has
 * to exist.
 */
public class CorePackage {
    private static final String DEFINITIONS = "/org/hl7/fhir/r4/model/";
    private static final List<String> FILES = List.of(
            "profile/profiles-types.xml",
            "profile/profiles-resources.xml",
            "profile/profiles-others.xml",
            "extension/extension-definitions.xml",
            "valueset/valuesets.xml",
            "valueset/v2-tables.xml",
            "valueset/v3-codesystems.xml",
            "sp/search-parameters.json");
    private static final List<String> INDEXED =
            List.of("resourceType", "id", "url", "version", "kind", "type", "derivation");
    private static final ObjectMapper MAPPER = new ObjectMapper();

    /** {@code CorePackage CACHE}: writes both packages into the folder CACHE. */
    public static void main(String[] args) throws IOException {
        Path cache = Path.of(args[0]);
        Map<String, Resource> resources = resources();
        write(cache, "hl7.fhir.r4.core", "4.0.1", "fhir.core", resources);
        write(cache, "hl7.fhir.xver-extensions", "0.1.0", "fhir.ig", Map.of());
        System.out.println(resources.size() + " definitions written to " + cache);
    }

    /** All definitions by "Type-id"; of two with one name the first, as the files are ordered, counts. */
    private static Map<String, Resource> resources() throws IOException {
        Map<String, Resource> found = new TreeMap<>();
        for (String file : FILES) {
            ParserBase parser = file.endsWith(".json") ? new JsonParser() : new XmlParser();
            try (InputStream content = CorePackage.class.getResourceAsStream(DEFINITIONS + file)) {
                for (Bundle.BundleEntryComponent entry : ((Bundle) parser.parse(content)).getEntry()) {
                    Resource resource = entry.getResource();
                    if (resource != null && resource.hasId()) {
                        found.putIfAbsent(resource.fhirType() + "-" + resource.getIdElement().getIdPart(), resource);
                    }
                }
            }
        }
        return found;
    }

    private static void write(Path cache, String name, String version, String type, Map<String, Resource> resources)
            throws IOException {
        Path folder = Files.createDirectories(cache.resolve(name + "#" + version).resolve("package"));
        List<Map<String, String>> index = new ArrayList<>();
        JsonParser json = new JsonParser();
        for (Map.Entry<String, Resource> each : resources.entrySet()) {
            String file = each.getKey() + ".json";
            byte[] content = json.composeBytes(each.getValue());
            Files.write(folder.resolve(file), content);
            index.add(indexed(file, MAPPER.readTree(content)));
        }
        MAPPER.writeValue(folder.resolve(".index.json").toFile(), Map.of("index-version", 2, "files", index));
        Map<String, Object> about = Map.of(
                "name", name,
                "version", version,
                "type", type,
                "canonical", "http://hl7.org/fhir",
                "url", "http://hl7.org/fhir/R4",
                "fhirVersions", List.of("4.0.1"),
                "fhir-version-list", List.of("4.0.1"),
                "dependencies", Map.of());
        MAPPER.writeValue(folder.resolve("package.json").toFile(), about);
    }

    private static Map<String, String> indexed(String file, JsonNode resource) {
        Map<String, String> entry = new LinkedHashMap<>();
        entry.put("filename", file);
        for (String name : INDEXED) {
            if (resource.path(name).isTextual()) {
                entry.put(name, resource.get(name).textValue());
            }
        }
        return entry;
    }
}
