package aftercare.hapi;

import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.IDaoRegistry;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HibernatePropertiesProvider;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.config.util.ResourceCountCacheUtil;
import ca.uhn.fhir.jpa.interceptor.UserRequestRetryVersionConflictsInterceptor;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.provider.DaoRegistryResourceSupportedSvc;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.ValueSetOperationProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.search.IStaleSearchDeletingSvc;
import ca.uhn.fhir.jpa.search.StaleSearchDeletingSvcImpl;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.jpa.topic.SubscriptionTopicConfig;
import ca.uhn.fhir.jpa.util.ResourceCountCache;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.api.IResourceSupportedSvc;
import ca.uhn.fhir.rest.openapi.OpenApiInterceptor;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.CorsInterceptor;
import ca.uhn.fhir.rest.server.interceptor.LoggingInterceptor;
import ca.uhn.fhir.rest.server.interceptor.RequestValidatingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ca.uhn.fhir.validation.IValidatorModule;
import jakarta.persistence.EntityManagerFactory;
import java.util.HashMap;
import java.util.List;
import javax.sql.DataSource;
import org.hibernate.dialect.Dialect;
import org.hl7.fhir.dstu2.model.Subscription.SubscriptionChannelType;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.autoconfigure.orm.jpa.JpaProperties;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.web.servlet.ServletRegistrationBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.annotation.EnableTransactionManagement;
import org.springframework.web.cors.CorsConfiguration;

/**
 * A HAPI FHIR R4 JPA server put together from the released libraries.
 *
 * <p>The {@code hapi.*} keys of application.yaml are bound straight onto HAPI's own settings objects, so any setter of
 * {@link JpaStorageSettings}, {@link SubscriptionSettings}, {@link DatabaseBackedPagingProvider} or
 * {@link CorsConfiguration} can be used there.
 */
@SpringBootApplication
@EnableTransactionManagement
@Import({
    JpaR4Config.class,
    ThreadPoolFactoryConfig.class,
    SubscriptionSubmitterConfig.class,
    SubscriptionProcessorConfig.class,
    SubscriptionChannelConfig.class,
    SubscriptionTopicConfig.class,
    JpaBatch2Config.class,
    Batch2JobsConfig.class
})
public class HapiServer {

    public static void main(String[] args) {
        SpringApplication.run(HapiServer.class, args);
    }

    // ---- settings ---------------------------------------------------------------------------------------------------

    @Bean
    @ConfigurationProperties("hapi.storage")
    JpaStorageSettings storageSettings() {
        JpaStorageSettings settings = new JpaStorageSettings();
        // A repeated search sees the latest write. Said here because a YAML null is not bound.
        settings.setReuseCachedSearchResultsForMillis(null);
        return settings;
    }

    @Bean
    PartitionSettings partitionSettings() {
        return new PartitionSettings();
    }

    @Bean
    @ConfigurationProperties("hapi.subscriptions")
    SubscriptionSettings subscriptionSettings() {
        SubscriptionSettings settings = new SubscriptionSettings();
        settings.addSupportedSubscriptionType(SubscriptionChannelType.RESTHOOK);
        return settings;
    }

    @Bean
    @ConfigurationProperties("hapi.paging")
    DatabaseBackedPagingProvider pagingProvider() {
        return new DatabaseBackedPagingProvider();
    }

    @Bean
    @ConfigurationProperties("hapi.cors")
    CorsConfiguration corsConfiguration() {
        return new CorsConfiguration();
    }

    // ---- persistence ------------------------------------------------------------------------------------------------

    @Bean
    @Primary
    LocalContainerEntityManagerFactoryBean entityManagerFactory(
            ConfigurableListableBeanFactory beans,
            FhirContext context,
            JpaStorageSettings settings,
            JpaProperties properties,
            DataSource dataSource) {
        LocalContainerEntityManagerFactoryBean factory =
                HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, context, settings);
        factory.setPersistenceUnitName("HAPI_PU");
        factory.setJpaPropertyMap(new HashMap<>(properties.getProperties()));
        factory.setDataSource(dataSource);
        return factory;
    }

    @Bean
    @Primary
    JpaTransactionManager transactionManager(EntityManagerFactory entityManagerFactory) {
        return new JpaTransactionManager(entityManagerFactory);
    }

    @Bean
    @Primary
    HibernatePropertiesProvider hibernateProperties(LocalContainerEntityManagerFactoryBean factory) throws Exception {
        String name = String.valueOf(factory.getJpaPropertyMap().get("hibernate.dialect"));
        Dialect dialect = (Dialect) Class.forName(name).getDeclaredConstructor().newInstance();
        return new HibernatePropertiesProvider() {
            @Override
            public Dialect getDialect() {
                return dialect;
            }
        };
    }

    // ---- services HAPI leaves to the application ----------------------------------------------------------------------

    @Bean
    IStaleSearchDeletingSvc staleSearchDeletingSvc() {
        return new StaleSearchDeletingSvcImpl();
    }

    @Bean
    IResourceSupportedSvc resourceSupportedSvc(IDaoRegistry registry) {
        return new DaoRegistryResourceSupportedSvc(registry);
    }

    @Bean(name = "myResourceCountsCache")
    ResourceCountCache resourceCountsCache(IFhirSystemDao<?, ?> systemDao) {
        return ResourceCountCacheUtil.newResourceCountCache(systemDao);
    }

    @Bean
    IEmailSender emailSender() {
        return email -> {};
    }

    // ---- the REST server ----------------------------------------------------------------------------------------------

    @Bean
    RestfulServer restfulServer(
            IFhirSystemDao<?, ?> systemDao,
            JpaStorageSettings storageSettings,
            ISearchParamRegistry searchParams,
            IValidationSupport validationSupport,
            IValidatorModule validator,
            ResourceProviderFactory resourceProviders,
            IJpaSystemProvider systemProvider,
            ValueSetOperationProvider valueSetOperations,
            DatabaseBackedPagingProvider paging,
            CorsConfiguration cors,
            @Value("${hapi.validate-requests:false}") boolean validateRequests) {
        RestfulServer server = new RestfulServer(systemDao.getContext());
        server.registerProviders(resourceProviders.createProviders());
        server.registerProviders(systemProvider, valueSetOperations);
        JpaCapabilityStatementProvider metadata = new JpaCapabilityStatementProvider(
                server, systemDao, storageSettings, searchParams, validationSupport);
        metadata.setImplementationDescription("HAPI FHIR R4 JPA server (fhir-aftercare)");
        server.setServerConformanceProvider(metadata);
        server.setPagingProvider(paging);
        server.setDefaultResponseEncoding(EncodingEnum.JSON);
        server.registerInterceptor(new CorsInterceptor(cors));
        server.registerInterceptor(new LoggingInterceptor());
        server.registerInterceptor(new OpenApiInterceptor());
        server.registerInterceptor(new UserRequestRetryVersionConflictsInterceptor());
        if (validateRequests) {
            RequestValidatingInterceptor validating = new RequestValidatingInterceptor();
            validating.setValidatorModules(List.of(validator));
            server.registerInterceptor(validating);
        }
        return server;
    }

    @Bean
    ServletRegistrationBean<RestfulServer> fhirServlet(RestfulServer server) {
        ServletRegistrationBean<RestfulServer> registration = new ServletRegistrationBean<>(server, "/fhir/*");
        registration.setLoadOnStartup(1);
        return registration;
    }
}
